"""The events of launches on machines, and of EC2, in words for a person who sees one first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.demo import story as agent_story
from local.demo.launch import story
from local.demo.story import Line

if TYPE_CHECKING:
    from local.demo.timeline import Timeline
    from local.ec2 import Machine

LAUNCHER = {
    **story.LAUNCHER,
    "task.placed": Line(
        "worker: has the machine {task}, try {try}",
        "capacity",
        {"token": "makes a token for this machine alone"},
    ),
    "token.handed_over": Line(
        "worker: has written the token to the machine's own parameter in SSM", "token"
    ),
    "task.failed": Line("worker: sees the machine end too early: {reason}", style="yellow"),
    "launch.cleaned_up": Line("worker: has taken back machine, token and runner"),
    "machine.terminated": Line("worker: terminates {machine}: {reason}", style="yellow"),
    "runner.missed": Line("worker: misses a runner: {reason}; the console says:", style="red"),
}
API = {
    "order.taken": Line("api: has an order of {caller}'s, for {repository}"),
    "runner.online": Line("api: finds the runner online at GitHub"),
    "launch.served": Line("api: learns by the console that its runner had a job"),
}
STATES = {
    "running": Line("runs {id}, {capacity}, in {zone} of the account {account}"),
    "shutting-down": Line("shuts {id} down"),
    "terminated": Line("has terminated {id}: {reason}"),
}
OWN = "runner-machine: "
"""The beginning of the lines of the launcher's user data."""


def show_launcher(event: dict[str, Any], timeline: Timeline) -> None:
    """Print what an event of the launcher means, if it means anything to a person."""
    line = LAUNCHER.get(event["event"])
    story.show_line(line, event, "launcher", timeline)
    for each in event.get("console", ()) if line is not None else ():
        timeline.done("launcher", f"  | {each}", style="bright_black")


def show_api(event: dict[str, Any], timeline: Timeline) -> None:
    """Print what an event of the API's process means."""
    line = API.get(event["event"]) or LAUNCHER.get(event["event"])
    if line is not None:
        text = line.text.replace("worker: ", "api: ")
        story.show_line(Line(text, line.ends, line.begins, line.style), event, "launcher", timeline)


def show_state(machine: Machine, state: str, timeline: Timeline) -> None:
    """Print what a new state of a machine means."""
    facts = {
        "id": machine.id,
        "capacity": machine.capacity,
        "zone": machine.zone,
        "account": machine.account,
        "reason": (machine.reason or ("", "nobody knows why"))[1],
    }
    for key in ("boot", "start") if state != "running" else ():
        timeline.end(key)
    story.show_line(STATES.get(state), facts, "EC2", timeline)
    if state == "running":
        timeline.begin("boot", "machine", "boots, and runs its user data")


def show_console(line: str, timeline: Timeline) -> None:
    """Print what a line of a machine's console means: one of its user data, or of its agent."""
    if line.startswith("{"):
        agent_story.show(json.loads(line), timeline)
    elif line.startswith(OWN):
        begins = "begins: " in line
        if begins:
            timeline.begin("start", "machine", "starts the agent")
        timeline.done("machine", line.removeprefix(OWN), "boot" if begins else "")
    else:
        timeline.done("machine", line, "start")
