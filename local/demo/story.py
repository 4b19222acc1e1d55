"""The agent's events, in words for a person who sees a runner for the first time.

The lines of the runner's own program are shown as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.demo.timeline import Timeline


@dataclass(frozen=True)
class Line:
    """The meaning of an event: what is done, what it ends (a key), what begins (keys and words)."""

    text: str = ""
    ends: str = ""
    begins: dict[str, str] = field(default_factory=dict)
    style: str = ""


STORY = {
    "life.started": Line("has started", "start", {"token": "looks for its token in SSM"}),
    "relay.started": Line(begins={"relay": "fetches the task role's credentials"}),
    "relay.credentials_fetched": Line("holds the task role's credentials for jobs", "relay"),
    "relay.started own-role": Line(begins={"relay": "waits until it knows whose job it is"}),
    "relay.credentials_fetched own-role": Line(),
    "role.assigned": Line("has the role of the rule “{rule}” for this job", "relay"),
    "container.role_chosen": Line(
        "sees a container being created, for which the rule “{rule}” says: {role}"
    ),
    "role.denied": Line("gives this job no role: {reason}", "relay", style="yellow"),
    "token.read": Line("has read the token from SSM", "token", {"register": "registers a runner"}),
    "runner.registered": Line(
        "has registered {name} with GitHub",
        "register",
        {"listen": "starts the runner's program", "delete": "deletes the token from SSM"},
    ),
    "runner.registered just-in-time": Line(
        "has the configuration of {name}, which GitHub knows already",
        "register",
        {"listen": "starts the runner's program", "delete": "deletes the token from SSM"},
    ),
    "token.deleted": Line("has deleted the token from SSM", "delete"),
    "phase.entered idle": Line("has a runner that waits for a job", "listen"),
    "stop.requested idle": Line(
        "is asked to stop: no job runs, so it deregisters first",
        begins={"remove": "removes the runner from GitHub"},
    ),
    "stop.requested busy": Line("is asked to stop, but a job runs"),
    "stop.job_awaited": Line(begins={"grace": "lets the job go on for {seconds:g} s"}),
    "runner.interrupted busy": Line(
        "has no more time for the job, and interrupts it",
        "grace",
        {"end": "waits for the runner's program to end"},
    ),
    "runner.interrupted idle": Line(begins={"end": "ends the runner's program"}),
    "runner.killed": Line("kills the runner's program: it did not end in time", style="red"),
    "runner.ended job-done": Line("sees the runner's program end", "end"),
    "runner.ended deregistered": Line(
        "sees the runner's program end, because GitHub removed the runner", "end"
    ),
    "runner.ended": Line("sees the runner's program end: {meaning}", "end", style="yellow"),
    "runner.deregistered registration-token": Line(
        "has verified that the runner is gone from GitHub", "remove"
    ),
    "runner.deregistered github": Line("finds that GitHub has removed the runner"),
    "retry.scheduled": Line("tries again in {seconds:g} s: {reason}", style="yellow"),
    "life.failed": Line("{reason}", style="yellow"),
    "life.crashed": Line("has a bug: {exception}", style="red"),
    "cleanup.failed": Line("could not clean up the {undo}: {reason}", style="red"),
    "life.ended": Line("ends with exit code {exit_code} ({outcome})"),
}


PRINTED = ("configure.printed", "listener.printed")
REMARKABLE = re.compile(r"√ .+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: .+")
"""What a person looks for among the lines of the runner's program."""


def show(event: dict[str, Any], timeline: Timeline) -> None:
    """Print what `event` means to a person, if it means anything."""
    if event["event"] in PRINTED:
        if REMARKABLE.fullmatch(event["line"]):
            timeline.done("runner", event["line"], style="bright_black")
        return
    line = STORY.get(_name(event)) or STORY.get(event["event"])
    if line is None:
        return
    if line.text:
        timeline.done("agent", line.text.format_map(event), line.ends, style=line.style)
    for key, words in line.begins.items():
        timeline.begin(key, "agent", words.format_map(event))


def _name(event: dict[str, Any]) -> str:
    """Return the event's name, with the detail that makes a difference to a person."""
    name = str(event["event"])
    if name in ("stop.requested", "runner.interrupted"):
        return f"{name} {'busy' if event['busy'] else 'idle'}"
    if name in ("relay.started", "relay.credentials_fetched"):
        own = event.get("upstream", "").startswith(("sts:", "the role of the job"))
        return f"{name} own-role" if own else name
    if name == "runner.registered" and event.get("just_in_time"):
        return f"{name} just-in-time"
    return " ".join(
        [name, *(str(event[key]) for key in ("phase", "rung", "outcome") if key in event)]
    )
