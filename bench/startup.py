"""Measure from the start of the process to the start of `configure`: agent, floor and shell."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from bench.figure import Figure, typical
from bench.stage import AGENT, life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.stage import Stage

HERE = Path(__file__).parent
RUNS = 15
DEADLINE = 30.0
AWS = "/usr/bin/aws"

# Writes that it runs, then fails for good, so that the life ends as soon as it can.
LISTENER = """\
#!/bin/sh
echo started > {fifo}
echo 'Http response code: NotFound'
exit 1
"""


@dataclass(frozen=True, slots=True)
class Start:
    """One program that starts configure: its name, and its command for a parameter."""

    name: str
    argv: Callable[[str], tuple[str, ...]]


def measure(stage: Stage, runs: int = RUNS) -> Iterator[Figure]:
    """Measure all programs in turns, so that a busy machine slows them alike."""
    fifo = stage.fifo()
    root = install_listener(stage.folder, fifo)
    listener = str(root / "bin" / "Runner.Listener")
    url = f"{stage.github}/octo/repo"
    floor = (sys.executable, str(HERE / "floor.py"))
    ways = [
        Start("agent", lambda _: AGENT),
        Start("floor", lambda name: (*floor, name, listener, "configure")),
    ]
    if shell_missing() is None:
        shell = str(HERE / "shell.sh")
        ways.append(Start("shell", lambda name: (shell, name, url, listener)))
    readings: dict[str, list[float]] = {way.name: [] for way in ways}
    reading = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        for turn in range(runs + 1):
            for way in ways:
                took = once(stage, way, root, reading)
                if turn:  # the first one of each pays for cold caches
                    readings[way.name].append(took)
    finally:
        os.close(reading)
    yield from figures({name: typical(taken) * 1000 for name, taken in readings.items()})


def figures(ms: dict[str, float]) -> Iterator[Figure]:
    """Compare the agent's time, in milliseconds, with each of the others."""
    for peer in ("floor", "shell"):
        if peer in ms:
            yield Figure(
                f"startup_vs_{peer}",
                ms["agent"] / ms[peer],
                f"{ms['agent']:.0f} ms",
                f"{ms[peer]:.0f} ms ({peer})",
                {"startup_ms": ms["agent"], f"startup_{peer}_ms": ms[peer]},
            )


def once(stage: Stage, way: Start, root: Path, reading: int) -> float:
    """Return the seconds from the start of one process to the start of its configure."""
    parameter = stage.token()
    env = stage.environment(parameter, root)
    with life(env, way.argv(parameter)) as child:
        if not select.select([reading], [], [], DEADLINE)[0]:
            child.kill()
            raise RuntimeError(f"{way.name} did not start configure: {''.join(child.said)}")
        at = monotonic()
        os.read(reading, 4096)
        child.ended()
    return at - child.started


def install_listener(folder: Path, fifo: Path) -> Path:
    """Make a runner's folder whose listener only writes to `fifo` that it started."""
    root = folder / f"listener-{fifo.name}"
    (root / "bin").mkdir(parents=True)
    listener = root / "bin" / "Runner.Listener"
    listener.write_text(LISTENER.format(fifo=fifo))
    listener.chmod(0o755)
    return root


def shell_missing() -> str | None:
    """Return what the shell script needs and is missing here; None if it can be measured."""
    if not Path(AWS).exists():
        return f"{AWS} (AWS CLI v2, Debian's awscli)"
    version = subprocess.run([AWS, "--version"], capture_output=True, text=True, check=False).stdout
    if not version.startswith("aws-cli/2."):
        return f"version 2 of {AWS}"
    return None if shutil.which("jq") else "jq"
