"""Judge how far a task has come, and say why it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sidecar.errors import Exit

if TYPE_CHECKING:
    from launcher.places import TaskState


class Progress(StrEnum):
    """The stage that a task has reached."""

    STARTING = "starting"
    RUNNING = "running"
    ONLINE = "online"
    SERVED = "served"
    """It ended well: its runner has run a job."""
    FAILED = "failed"
    """It ended, or is ending, and has run no job."""


ENDS = (Progress.SERVED, Progress.FAILED)


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one look at a task."""

    progress: Progress
    state: TaskState | None = None
    """None where ECS does not know the task."""


def judge(state: TaskState) -> Look:
    """Judge what the place says of a task: whether its runner is online only GitHub knows."""
    if state.ended:
        return Look(Progress.SERVED if state.exit_code == Exit.DONE else Progress.FAILED, state)
    if state.stopping or state.status != "RUNNING":
        return Look(Progress.STARTING, state)
    return Look(Progress.RUNNING, state)


def explain_end(state: TaskState | None) -> str:
    """Say in one line why a task ended: AWS's reason and the agent's exit code."""
    if state is None:
        return "AWS does not know it any more"
    code = state.exit_code
    if code is None:
        return f"{state.reason or 'AWS gives no reason'}; no exit code"
    known = {int(each): each.meaning for each in Exit}
    meaning = f" ({known[code]})" if code in known else ""
    return f"{state.reason}; exit code {code}{meaning}"
