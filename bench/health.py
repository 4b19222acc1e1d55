"""Measure `runner-sidecar health`, which a container runs every few seconds for hours."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench.child import cpu_seconds
from bench.figure import Figure, typical
from bench.stage import AGENT, base_environment, life
from bench.tries import UnansweredError, repeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

RUNS = 21
LISTENING = '"event": "health.started"'


def measure(stage: Stage, runs: int = RUNS) -> Iterator[Figure]:
    """Ask an agent that waits for its token, in turns with a Python that does nothing."""
    env = stage.environment("/bench/never", stage.runner())
    checks, floors = [], []
    with life(env) as child:
        child.until(LISTENING)
        port = child.said[-1].partition('"port": ')[2].split(",")[0]
        env = {**base_environment(), "SIDECAR_HEALTH_ADDRESS": f"127.0.0.1:{port}"}
        for _ in range(runs):
            checks.append(once(env, (AGENT[0], "health")))
            floors.append(once(env, (sys.executable, "-c", "pass")))
    check, least = typical(checks), typical(floors)
    yield Figure(
        "health_cpu_ms",
        check,
        f"{check:.0f} ms",
        f"{least:.0f} ms (python -c pass)",
        {"health_floor_cpu_ms": least},
    )


def once(env: dict[str, str], argv: tuple[str, ...]) -> float:
    """Return the CPU time in ms of one short program; raises UnansweredError if it always fails.

    A health check waits for two seconds only: a busy machine's answer may be late.
    """

    def run() -> float:
        with life(env, argv) as child:
            code, usage, _ = child.ended()
            if code != 0:
                raise UnansweredError(f"{argv} ended with {code}: {''.join(child.said)}")
            return cpu_seconds(usage) * 1000

    return repeat(run)
