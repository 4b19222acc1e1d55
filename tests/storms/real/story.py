"""Tell what happened in a storm, by everything that was seen from outside, in order of time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.agent import AgentProcess
    from tests.storms.real.world import World

LONGEST_FACT = 300
_LEFT_OUT = ("timestamp", "event", "level")


def tell(world: World) -> str:
    """Return a line for each event of the launcher, of ECS and of GitHub."""
    lines = [*_list_launchers(world), *_list_tasks(world), *_list_github(world), *world.notes]
    return "\n".join(f"{_moment(at)}  {text}" for at, text in sorted(lines))


def _list_launchers(world: World) -> Iterator[tuple[float, str]]:
    for number, process in enumerate(world.stage.launchers):
        name = f"{process.argv[-1]} {number}"
        at = 0.0
        for event in process.events:
            at = datetime.fromisoformat(event["timestamp"]).timestamp()
            facts = {key: value for key, value in event.items() if key not in _LEFT_OUT}
            yield at, f"{name}: {event['event']} {_write(facts)}"
        if errors := _list_errors(process):
            yield at, f"{name}: {errors}"


def _list_errors(process: AgentProcess) -> str:
    return "\n".join(line for line in process.errors.splitlines() if not line.startswith("{"))


def _list_tasks(world: World) -> Iterator[tuple[float, str]]:
    for event in world.stage.ecs.events.told:
        detail = event["detail"]
        at = datetime.fromisoformat(detail["updatedAt"]).timestamp()
        facts = {"desired": detail["desiredStatus"], "reason": detail.get("stoppedReason")}
        facts["code"] = detail["containers"][0].get("exitCode")
        yield at, f"ECS: {detail['taskArn'][-32:]} is {detail['lastStatus']} {_write(facts)}"


def _list_github(world: World) -> Iterator[tuple[float, str]]:
    for each in world.stage.github.world.hooks.deliveries:
        job = each.payload.get("workflow_job", {}).get("id")
        yield each.at, f"GitHub: sends {each.action} of job {job}: {each.status_code} {each.status}"
    for job in world.jobs:
        yield job.queued_at, f"GitHub: queues {job.name} as job {job.id}"
        if job.started_at:
            yield job.started_at, f"GitHub: gives job {job.id} to {job.runner_name}"
        if job.completed_at:
            yield job.completed_at, f"GitHub: job {job.id} is over: {job.result}"


def _write(facts: dict[str, Any]) -> str:
    told = {key: str(value)[:LONGEST_FACT] for key, value in facts.items() if value is not None}
    return " ".join(f"{key}={value}" for key, value in told.items())


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%M:%S.%f")[:-3]
