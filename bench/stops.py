"""Measure twenty stops side by side while no service answers: the slowest one counts."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Barrier, BrokenBarrierError
from typing import TYPE_CHECKING

from bench.figure import Figure
from bench.stage import call, life, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from bench.stage import Stage

STOPS = 20
BUDGET = 10.0
"""Seconds. A short budget is the harder case: the time of the end itself is always the same."""
TOGETHER = 90.0
"""Seconds for all lives to reach their phase."""
PHASES = {
    "waiting": ('"phase": "waiting-for-token"',),
    "configuring": ('"event": "configure.printed"', '"verb": "configure"'),
    "idle": ('"phase": "idle"',),
    "busy": ('"event": "job.started"',),
}
"""What the log of a life holds when it has reached the phase in which it is stopped."""
STUBBORN = {"ignore_signals": True, "remove": "hang"}
"""How the runner's program misbehaves in each of these lives."""
DEAF_STEP = "trap '' INT TERM; sleep 100"
HANG = {"kind": "hang"}


def measure(stage: Stage, stops: int = STOPS, budget: float = BUDGET) -> Iterator[Figure]:
    """Bring lives into each phase, make every service hang, and stop all of them at once."""
    phases = [list(PHASES)[number % len(PHASES)] for number in range(stops)]
    # Behind the first proxies nothing ever answers; behind the second all does until the stop.
    with add_proxies(stage) as (silent, silent_proxies), add_proxies(stage) as (normal, proxies):
        for proxy in silent_proxies:
            call(f"{proxy}/_local/faults", HANG)
        # The token's deletion hangs from the start, or it would be done long before the stop.
        call(f"{proxies[0]}/_local/faults", {**HANG, "target": "DeleteParameter"})
        for _ in range(phases.count("busy")):
            call(
                f"{stage.github}/_local/jobs",
                {"name": "deaf", "labels": ["busy"], "steps": [{"run": DEAF_STEP}]},
            )

        def hang() -> None:
            for proxy in proxies:
                call(f"{proxy}/_local/faults", HANG)

        ready = Barrier(stops, action=hang, timeout=TOGETHER)
        with ThreadPoolExecutor(stops) as lives:
            stopped = [
                lives.submit(once, silent if phase == "waiting" else normal, phase, budget, ready)
                for phase in phases
            ]
        seconds = collect(stopped)
    worst = max(seconds)
    parts = {
        f"stop_{phase}_s": max(
            took for took, of in zip(seconds, phases, strict=True) if of == phase
        )
        for phase in dict.fromkeys(phases)
    }
    slowest = phases[seconds.index(worst)]
    yield Figure(
        "stop_over_budget",
        worst / budget,
        f"{worst:.2f} s ({slowest})",
        f"{budget:g} s (budget)",
        parts,
    )


class OthersMissing(RuntimeError):
    """A life reached its phase, but not all of the others did."""


def collect(stopped: Sequence[Future[float]]) -> list[float]:
    """Return the seconds of each stop; raises the first cause if any life failed."""
    errors = [error for one in stopped if (error := one.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, OthersMissing)):
        raise error
    return [one.result() for one in stopped]


def once(stage: Stage, phase: str, budget: float, ready: Barrier) -> float:
    """Run a life up to `phase`, wait for the others, stop it; returns the seconds to its end."""
    hung = {"configure": "hang"} if phase == "configuring" else {}
    env = stage.environment(
        stage.token(),
        stage.runner(**STUBBORN, **hung),
        SIDECAR_LABELS=phase,
        SIDECAR_STOP_TIMEOUT=f"{budget:g}",
        SIDECAR_LOG_LEVEL="debug",  # logs what configure prints, and so that it runs
    )
    with life(env) as child:
        try:
            child.until(*PHASES[phase])
            ready.wait()
        except BrokenBarrierError as error:
            raise OthersMissing(
                f"not all lives reached their phase within {TOGETHER:g} s"
            ) from error
        except BaseException:
            ready.abort()  # or the others would wait for this one
            raise
        sent = child.signal(signal.SIGTERM)
        _, _, gone = child.ended()
        return gone - sent


@contextmanager
def add_proxies(stage: Stage) -> Iterator[tuple[Stage, tuple[str, str, str]]]:
    """Put a proxy before SSM, GitHub and the ECS agent; gives the changed stage, and their URLs.

    Tokens are still minted and put without a proxy: the bench itself must never hang.
    """
    ecs = stage.ecs
    with ExitStack() as ends:
        urls = [
            ends.enter_context(program("local.faults", "--upstream", upstream))
            for upstream in (stage.ssm, stage.github, ecs)
        ]
        variables = {name: value.replace(ecs, urls[2]) for name, value in stage.agent.items()}
        overrides = {"AWS_ENDPOINT_URL_SSM": urls[0], "SIDECAR_GITHUB_URL": f"{urls[1]}/octo/repo"}
        yield replace(stage, agent=variables, overrides=overrides), (urls[0], urls[1], urls[2])
