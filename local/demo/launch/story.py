"""The launcher's events and ECS's, in words for a person who sees a launch for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from local.demo.story import Line

if TYPE_CHECKING:
    from local.demo.timeline import Timeline

LAUNCHER = {
    "launch.admitted": Line("worker: finds the pool “{pool}” for the job, by its labels"),
    "task.placed": Line(
        "worker: has a task, try {try}", "capacity", {"token": "makes a token for this task alone"}
    ),
    "token.handed_over": Line(
        "worker: has written the token to the task's own parameter in SSM", "token"
    ),
    "task.delayed": Line(
        "worker: finds no room, and comes back in {seconds} s: {reason}",
        begins={"capacity": "waits for capacity"},
        style="yellow",
    ),
    "task.refused": Line("worker: is refused: {reason}", style="red"),
    "task.failed": Line("worker: sees the task end too early: {reason}", style="yellow"),
    "launch.stolen": Line("worker: {reason}", style="yellow"),
    "runner.deleted": Line("worker: has deleted the runner at GitHub"),
    "launch.settled": Line("worker: wants nothing more for the job: {reason}", style="yellow"),
    "launch.cleaned_up": Line("worker: has taken back task, token and runner"),
    "launch.served": Line("worker: learns by webhook that its runner has the job"),
    "launch.given_up": Line("worker: gives up: {reason}", style="red"),
    "launch.ended": Line("worker: knows that nothing of the launch is left"),
    "webhook.failed": Line("webhook: cannot queue the delivery: {reason}", style="red"),
    "message.crashed": Line("worker: has a bug", style="red"),
}
STATUSES = {
    "PROVISIONING": Line("has a new task on {place}", begins={"pull": "starts the task"}),
    "RUNNING": Line(
        "runs the task: the agent is its container", "pull", {"start": "starts the agent"}
    ),
    "STOPPED": Line("has stopped the task: {reason}", "pull"),
}


def show_launcher(event: dict[str, Any], timeline: Timeline) -> None:
    """Print what an event of the launcher means, if it means anything to a person."""
    show_line(LAUNCHER.get(event["event"]), event, "launcher", timeline)


def show_ecs(event: dict[str, Any], timeline: Timeline) -> None:
    """Print what a change of a task means."""
    detail = event["detail"]
    if detail["lastStatus"] != "STOPPED" == detail["desiredStatus"]:
        return  # it is only asked to stop
    place = detail.get("capacityProviderName") or detail.get("launchType")
    facts = {"place": place, "reason": describe_end(detail)}
    show_line(STATUSES.get(detail["lastStatus"]), facts, "ECS", timeline)


def describe_end(detail: dict[str, Any]) -> str:
    """Say how a task has ended: its exit code, or else why it was stopped."""
    code = detail["containers"][0].get("exitCode")
    if code is not None:
        return f"exit code {code}"
    reason = str(detail.get("stoppedReason", "")).partition(":")[0]
    return f"{detail.get('stopCode')} ({reason})"


def show_line(line: Line | None, facts: dict[str, Any], who: str, timeline: Timeline) -> None:
    """Show a line with its facts in place; None shows nothing."""
    if line is None:
        return
    for key, words in line.begins.items():
        timeline.begin(key, who, words.format_map(facts))
    if line.text:
        timeline.done(who, line.text.format_map(facts), line.ends, style=line.style)
