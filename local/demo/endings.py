"""The ways a life can end that the demo shows, and what must be true after each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

STEPS = (
    {"name": "Who am I", "run": 'echo "I am $(id -un 2>/dev/null || id -u)"\nenv'},
    {
        "name": "Start a nested container",
        "run": 'echo "$RUNNER_SIDECAR_RELAY_URI" > "$CONTAINER/start"\n'
        'read -r answer < "$CONTAINER/says"\n'
        'echo "The container says: $answer"',
    },
)
"""What the job runs; the second waits for the container, as `docker run` would."""
NO_JOB = "there was none"
LONG = {"name": "Build for ten minutes", "run": "sleep 600"}


@dataclass(frozen=True)
class Ending:
    """One ending. `exit_code` and its name, `outcome`, stand in docs/reference.md."""

    title: str
    exit_code: int
    outcome: str
    steps: tuple[dict[str, str], ...] = ()
    """The job's; none: no job is queued."""
    job_result: str = NO_JOB
    removed_by: str = "remove"
    """Who ends the registration: the `remove` of the agent, or GitHub, as `job-completed`."""
    stop_when: str = ""
    """The agent is told to stop once the job's last step is `busy`, or the runner is `idle`."""
    stop_timeout: int = 30
    """Seconds, as `stopTimeout` in a task definition."""
    misbehaves: dict[str, Any] = field(default_factory=dict)
    """What `.misbehave.json` tells the runner's program."""


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
        "A runner is told to stop while its job runs",
        exit_code=22,
        outcome="cancelled",
        steps=(*STEPS, LONG),
        job_result="canceled",
        removed_by="job-completed",
        stop_when="busy",
        stop_timeout=27,  # so that the job may go on for 2 s: the agent keeps 25 s for the end
        # The runner gives a step up to 15 s to end; nobody wants to watch that.
        misbehaves={
            "step_interrupt_seconds": 0.5,
            "step_terminate_seconds": 0.5,
            "step_stream_seconds": 0.5,
        },
    ),
    "idle": Ending(
        "A runner is told to stop before it has a job",
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
