"""TERM while idle, to the exit: what scaling in costs when there was nothing to do."""

from __future__ import annotations

import signal
import subprocess
from time import monotonic
from typing import TYPE_CHECKING

from bench.figure import Figure, typical
from bench.stage import life

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.stage import Stage

RUNS = 9
IDLE = '"phase": "idle"'


def measure(stage: Stage, runs: int = RUNS) -> Iterator[Figure]:
    """Stop idle lives; measure beside it how long the runner's stand-in takes for its version.

    No stop includes such a start any more: the agent deregisters the runner by itself.
    """
    stops, starts = [], []
    for turn in range(runs + 1):
        root = stage.runner()
        stop, start = once(stage, root), start_stand_in(root)
        if turn:  # the first one pays for cold caches
            stops.append(stop * 1000)
            starts.append(start * 1000)
    stop, start = typical(stops), typical(starts)
    yield Figure(
        "idle_stop_ms",
        stop,
        f"{stop:.0f} ms",
        f"{start:.0f} ms (stand-in)",
        {"idle_stop_floor_ms": start},
    )


def once(stage: Stage, root: Path) -> float:
    """Run a life up to idle, then stop it; returns the seconds from the signal to the end."""
    with life(stage.environment(stage.token(), root)) as child:
        child.until(IDLE)
        sent = child.signal(signal.SIGTERM)
        code, _, gone = child.ended()
        if code != 0:
            raise RuntimeError(f"an idle stop ended with {code}: {''.join(child.said)}")
        return gone - sent


def start_stand_in(root: Path) -> float:
    """Return the seconds that the stand-in itself takes to start and end."""
    began = monotonic()
    argv = [str(root / "bin" / "Runner.Listener"), "--version"]
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return monotonic() - began
