"""Judge a stop budget by the time that ECS gives a container for its end."""

from __future__ import annotations

from sidecar import defaults
from sidecar.examination.finding import Finding, failed, ok, warning

USUAL, MOST_OF_FARGATE = 30.0, 120.0
"""Seconds of a container whose definition says nothing, and what Fargate grants at most."""


def judge_fargate(budget: float) -> Finding | None:
    """Judge a budget by what Fargate grants at most; None where it fits."""
    if budget <= MOST_OF_FARGATE:
        return None
    text = f"SIDECAR_STOP_TIMEOUT is {budget:g} s, and Fargate grants {MOST_OF_FARGATE:g} s"
    return failed(text, f"set SIDECAR_STOP_TIMEOUT and stopTimeout to {MOST_OF_FARGATE:g}")


def judge_budget(budget: float | None, granted: float | None, *, fargate: bool = False) -> Finding:
    """Compare SIDECAR_STOP_TIMEOUT with stopTimeout; None for one that is not set."""
    budget = defaults.STOP_TIMEOUT if budget is None else budget
    if fargate and (found := judge_fargate(budget)):
        return found
    seconds = USUAL if granted is None else float(granted)
    text = f"SIDECAR_STOP_TIMEOUT is {budget:g} s, the container's stopTimeout {seconds:g} s"
    if granted is None:
        text += " (ECS's default)"
    if budget > seconds:
        change = f"set stopTimeout to {budget:g}, or SIDECAR_STOP_TIMEOUT to {seconds:g}"
        return failed(f"{text}: ECS kills the agent before it has cleaned up", change)
    if budget < seconds:
        return warning(f"{text}: jobs have less time than they could", f"set it to {seconds:g}")
    return ok(text)
