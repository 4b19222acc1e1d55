"""Measure a life whose job uses the relay and then waits: peak memory, and CPU while it waits."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from bench.child import cpu_ms_now, peak_mib
from bench.figure import Figure, typical
from bench.stage import hold_job, life

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.child import Child
    from bench.stage import Stage

FLOOR = Path(__file__).with_name("floor.py")
RUNS = 3
WINDOW = 30.0
"""Seconds for which nothing happens in the first life."""
SETTLING = 2.0
"""Seconds from the job's first step until nothing happens any more."""
RELAY_CALLS = 100


def measure(stage: Stage, runs: int = RUNS, window: float = WINDOW) -> Iterator[Figure]:
    """Run `runs` lives, each beside its floor; the first one's job waits for `window` seconds."""
    peaks, floors, idle = [], [], 0.0
    for turn in range(runs):
        peak, cpu = once(stage, 0.0 if turn else window)
        peaks.append(peak)
        floors.append(floor(stage))
        idle = idle or cpu
    peak, least = typical(peaks), typical(floors)
    yield Figure(
        "rss_vs_floor",
        peak / least,
        f"{peak:.1f} MiB",
        f"{least:.1f} MiB (floor)",
        {"rss_mib": peak, "rss_floor_mib": least},
    )
    yield Figure("idle_cpu_ms_per_min", idle, f"{idle:.1f} ms")


def once(stage: Stage, window: float) -> tuple[float, float]:
    """Run one life; return its peak in MiB, and the CPU time in ms of a minute of waiting."""
    with hold_job(stage, 'echo "$RUNNER_SIDECAR_RELAY_URI"') as (child, relay):
        for _ in range(RELAY_CALLS):
            take_credentials(relay)
        cpu = measure_waiting(child, window) if window else 0.0
    code, usage, _ = child.ended()
    if code != 0:
        raise RuntimeError(f"a life with a job ended with {code}: {''.join(child.said)}")
    return peak_mib(usage), cpu


def take_credentials(uri: str) -> None:
    """Take credentials from the relay, as an SDK in a nested container would."""
    with urllib.request.urlopen(uri, timeout=30) as answer:
        if "AccessKeyId" not in json.load(answer):
            raise RuntimeError("the relay gave no credentials")


def measure_waiting(child: Child, window: float) -> float:
    """Return the CPU time in ms that a minute takes in which nothing happens."""
    time.sleep(SETTLING)
    before, began = cpu_ms_now(child.pid), time.monotonic()
    time.sleep(window)
    return (cpu_ms_now(child.pid) - before) * 60 / (time.monotonic() - began)


def floor(stage: Stage) -> float:
    """Return the peak in MiB of the floor script."""
    parameter = stage.token()
    env = stage.environment(parameter, stage.folder)
    with life(env, (sys.executable, str(FLOOR), parameter, "/bin/true")) as child:
        code, usage, _ = child.ended()
        if code != 0:
            raise RuntimeError(f"the floor ended with {code}: {''.join(child.said)}")
        return peak_mib(usage)
