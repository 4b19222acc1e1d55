"""The agent's events in the words of somebody who sees a runner for the first time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.demo.timeline import Timeline


@dataclass(frozen=True)
class Told:
    """What an event ends, in words, and what begins with it: key and words."""

    says: str = ""
    ends: str = ""
    begins: dict[str, str] = field(default_factory=dict)
    style: str = ""


STORY = {
    "life.started": Told("has started", "start", {"token": "looks for its token in SSM"}),
    "relay.started": Told(begins={"relay": "fetches the task role's credentials"}),
    "relay.credentials_fetched": Told("holds the task role's credentials for jobs", "relay"),
    "token.read": Told(
        "has read the registration token from SSM", "token", {"register": "registers a runner"}
    ),
    "runner.registered": Told(
        "has registered {name} with GitHub",
        "register",
        {"listen": "starts the runner's program", "delete": "deletes the token from SSM"},
    ),
    "token.deleted": Told("has deleted the token from SSM", "delete"),
    "phase.entered idle": Told("has a runner that waits for a job", "listen"),
    "stop.requested idle": Told(
        "heard the stop: no job runs, so first off GitHub",
        begins={"remove": "takes the runner off GitHub"},
    ),
    "stop.requested busy": Told("heard the stop, but a job runs"),
    "stop.job_awaited": Told(begins={"grace": "lets the job go on for {seconds:g} s"}),
    "runner.interrupted busy": Told(
        "has no more time for the job, and cancels it",
        "grace",
        {"end": "waits for the runner's program to end"},
    ),
    "runner.interrupted idle": Told(begins={"end": "ends the runner's program"}),
    "runner.killed": Told("kills the runner's program: it did not end in time", style="red"),
    "runner.ended job-done": Told("sees the runner's program end", "end"),
    "runner.ended deregistered": Told("sees the runner's program end, as GitHub told it", "end"),
    "runner.ended": Told("sees the runner's program end: {meaning}", "end", style="yellow"),
    "runner.deregistered registration-token": Told(
        "has made sure that the runner is off GitHub", "remove"
    ),
    "runner.deregistered github": Told("has nothing to take off GitHub"),
    "retry.scheduled": Told("tries again in {seconds:g} s: {reason}", style="yellow"),
    "life.failed": Told("{reason}", style="yellow"),
    "life.crashed": Told("has a bug: {exception}", style="red"),
    "cleanup.failed": Told("could not give back the {undo}: {reason}", style="red"),
    "life.ended": Told("ends with exit code {exit_code} ({outcome})"),
}


def tell(event: dict[str, Any], timeline: Timeline) -> None:
    """Draw what `event` means to a person, if it means anything."""
    told = STORY.get(_named(event)) or STORY.get(event["event"])
    if told is None:
        return
    if told.says:
        timeline.done("agent", told.says.format_map(event), told.ends, style=told.style)
    for key, words in told.begins.items():
        timeline.begin(key, "agent", words.format_map(event))


def _named(event: dict[str, Any]) -> str:
    """Name an event more precisely, where one name stands for two things to a person."""
    name = str(event["event"])
    if name in ("stop.requested", "runner.interrupted"):
        return f"{name} {'busy' if event['busy'] else 'idle'}"
    return " ".join(
        [name, *(str(event[key]) for key in ("phase", "rung", "outcome") if key in event)]
    )
