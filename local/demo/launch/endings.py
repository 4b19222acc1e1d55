"""The endings that `make demo LAUNCH=webhook END=…` can show, and what must be true after each."""

from __future__ import annotations

from dataclasses import dataclass

ACTION = "A step of a workflow starts two runners; one has a job, the other is stopped"
"""The title of LAUNCH=action."""


@dataclass(frozen=True)
class Ending:
    """One ending, for each job."""

    title: str
    job_result: str = "succeeded"
    tasks: tuple[str, ...] = ("exit code 0",)
    """How the tasks of one job ended, in order."""
    removed_by: str = "job-completed"
    """What ends the registration of its runner."""
    requests: int = 1
    """How often ECS was asked to run a task."""


ENDINGS = {
    "": Ending("A queued job becomes a running task"),
    "no-capacity": Ending(
        "A queued job waits until there is capacity",
        requests=3,  # spot and on demand are refused; then spot again, in the next round
    ),
    "pull": Ending(
        "A queued job's first task cannot pull its image",
        tasks=("TaskFailedToStart", "exit code 0"),
        requests=2,
    ),
    "cancel": Ending(
        "A job is cancelled while its task starts",
        job_result="canceled",
        tasks=("UserInitiated",),
        removed_by="rest",
    ),
}
