"""The endings that the demo can show, and what must be true after each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

STEPS = (
    {"name": "Who am I", "run": 'echo "I am $(id -un 2>/dev/null || id -u)"\nenv'},
    {
        "name": "Start a nested container",
        "run": 'echo "$RUNNER_SIDECAR_RELAY_URI" > "$CONTAINER/start"\n'
        'read -r answer < "$CONTAINER/answer"\n'
        'echo "The container says: $answer"',
    },
)
"""The job's steps; the second waits for the container, as `docker run` would."""
NO_JOB = "there was none"
LONG = {"name": "Build for ten minutes", "run": "sleep 600"}


@dataclass(frozen=True)
class Ending:
    """One ending. `exit_code` and its name, `outcome`, are those of docs/reference.md."""

    title: str
    exit_code: int
    outcome: str
    steps: tuple[dict[str, str], ...] = ()
    """The job's steps; without any, no job is queued."""
    job_result: str = NO_JOB
    removed_by: str = "remove"
    """What ends the registration: the agent's `remove`, or GitHub, as `job-completed`."""
    stop_when: str = ""
    """When the agent is asked to stop: `busy`, in the job's last step, or `idle`; "" is never."""
    stop_timeout: int = 30
    """Seconds, as `stopTimeout` in a task definition."""
    misbehaves: dict[str, Any] = field(default_factory=dict)
    """How the runner's program misbehaves (local/README.md)."""


ENDINGS = {
    "": Ending(
        "A runner lives for one job",
        exit_code=0,
        outcome="done",
        steps=STEPS,
        job_result="succeeded",
        removed_by="job-completed",
    ),
    "busy": Ending(
        "A runner is asked to stop while its job runs",
        exit_code=22,
        outcome="cancelled",
        steps=(*STEPS, LONG),
        job_result="failed",
        removed_by="job-completed",
        stop_when="busy",
        stop_timeout=27,  # lets the job go on for 2 s: the agent keeps 25 s for its cleanup
        # The real runner gives a step up to 15 s to end, which is long to watch.
        misbehaves={
            "step_interrupt_seconds": 0.5,
            "step_terminate_seconds": 0.5,
            "step_stream_seconds": 0.5,
        },
    ),
    "idle": Ending(
        "A runner is asked to stop before it has a job",
        exit_code=0,
        outcome="done",
        stop_when="idle",
    ),
    "crash": Ending(
        "The runner's program crashes",
        exit_code=15,
        outcome="runner",
        misbehaves={"run": "crash-after-listening"},
    ),
}
