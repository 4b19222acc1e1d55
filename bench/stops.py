"""Twenty stops side by side while nothing answers: the worst must still be within its budget."""

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
"""Seconds. Short enough for twenty lives to be waited for, and the harder kind: what the end
itself takes is the same whatever the budget, and so the greater part of a short one."""
TOGETHER = 90.0
"""Seconds for all to come to their phase."""
PHASES = {
    "waiting": ('"phase": "waiting-for-token"',),
    "configuring": ('"event": "configure.printed"', '"verb": "configure"'),
    "idle": ('"phase": "idle"',),
    "busy": ('"event": "job.started"',),
}
"""What a life says when it has come to where it is to be stopped."""
STUBBORN = {"ignore_signals": True, "remove": "hang"}
"""How the runner's program misbehaves in every one of these lives."""
DEAF_STEP = "trap '' INT TERM; sleep 100"
HANG = {"kind": "hang"}


def measure(stage: Stage, stops: int = STOPS, budget: float = BUDGET) -> Iterator[Figure]:
    """Bring lives into each phase, make every service hang, stop all at once."""
    phases = [list(PHASES)[number % len(PHASES)] for number in range(stops)]
    # Behind one set of proxies nothing ever answers, behind the other until the stop.
    with behind(stage) as (never, mute), behind(stage) as (turning, turned):
        for proxy in mute:
            call(f"{proxy}/_local/faults", HANG)
        # The token's deletion hangs from the start: else it were over long before the stop.
        call(f"{turned[0]}/_local/faults", {**HANG, "target": "DeleteParameter"})
        for _ in range(phases.count("busy")):
            call(
                f"{stage.github}/_local/jobs",
                {"name": "deaf", "labels": ["busy"], "steps": [{"run": DEAF_STEP}]},
            )

        def hang() -> None:
            for proxy in turned:
                call(f"{proxy}/_local/faults", HANG)

        ready = Barrier(stops, action=hang, timeout=TOGETHER)
        with ThreadPoolExecutor(stops) as lives:
            stopped = [
                lives.submit(once, never if phase == "waiting" else turning, phase, budget, ready)
                for phase in phases
            ]
        seconds = taken(stopped)
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


class Alone(RuntimeError):
    """A life came to its phase, but not all of the others did."""


def taken(stopped: Sequence[Future[float]]) -> list[float]:
    """Return the seconds of each stop; raises what went wrong rather than what came of it."""
    errors = [error for one in stopped if (error := one.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Alone)):
        raise error
    return [one.result() for one in stopped]


def once(stage: Stage, phase: str, budget: float, ready: Barrier) -> float:
    """Live up to `phase`, meet the others, stop; return the seconds from the signal to the end."""
    hung = {"configure": "hang"} if phase == "configuring" else {}
    env = stage.environment(
        stage.token(),
        stage.runner(**STUBBORN, **hung),
        SIDECAR_LABELS=phase,
        SIDECAR_STOP_TIMEOUT=f"{budget:g}",
        SIDECAR_LOG_LEVEL="debug",  # tells what configure says, and so that it runs
    )
    with life(env) as child:
        try:
            child.until(*PHASES[phase])
            ready.wait()
        except BrokenBarrierError as error:
            raise Alone(f"not all lives came to their phase within {TOGETHER:g} s") from error
        except BaseException:
            ready.abort()  # or the others would wait for this one
            raise
        told = child.signal(signal.SIGTERM)
        _, _, gone = child.ended()
        return gone - told


@contextmanager
def behind(stage: Stage) -> Iterator[tuple[Stage, tuple[str, str, str]]]:
    """Put a proxy before SSM, GitHub and the ECS agent; give the stage so changed, and their URLs.

    Tokens are still put and minted in front of nothing: the bench itself must never hang.
    """
    ecs = stage.ecs
    with ExitStack() as ends:
        before = [
            ends.enter_context(program("local.faults", "--upstream", upstream))
            for upstream in (stage.ssm, stage.github, ecs)
        ]
        variables = {name: value.replace(ecs, before[2]) for name, value in stage.agent.items()}
        seen = {"AWS_ENDPOINT_URL_SSM": before[0], "SIDECAR_GITHUB_URL": f"{before[1]}/octo/repo"}
        yield replace(stage, agent=variables, instead=seen), (before[0], before[1], before[2])
