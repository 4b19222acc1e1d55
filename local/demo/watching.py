"""Show what GitHub sees, as it happens."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.demo.timeline import Timeline
    from local.github.jobs import Job, Step
    from local.github.world import World

REASONS = {
    "job-completed": "its one job is over",
    "remove": "the agent asked for it",
    "rest": "the launcher deleted it",
}
RESULTS = {"succeeded": "green", "failed": "red", "canceled": "yellow"}


async def watch(world: World, timeline: Timeline) -> None:
    """Show what changes there, until cancelled."""
    shown: set[str] = set()

    def look() -> list[tuple[str, Callable[[], None]]] | None:
        return [each for each in _list_facts(world, timeline) if each[0] not in shown] or None

    while not world.changes.closed:
        for name, show in await world.changes.until(look, 3600) or ():
            shown.add(name)
            show()


def _list_facts(world: World, timeline: Timeline) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give everything that is true by now: a name, and the call that shows it."""
    for runner in world.runners:
        if any(session.runner_id == runner.id for session in world.sessions.values()):
            text = f"sees {runner.name} come online"
            yield f"online {runner.id}", partial(timeline.done, "GitHub", text)
    for job in world.jobs:
        yield from _list_job_facts(job, timeline)
    for gone in world.runners.removed:
        text = f"has removed {gone.name}: {REASONS.get(gone.by, gone.by)}"
        yield f"removed {gone.id}", partial(timeline.done, "GitHub", text)


def _list_job_facts(job: Job, timeline: Timeline) -> Iterator[tuple[str, Callable[[], None]]]:
    if job.runner_id:
        text = f"has given the job “{job.name}” to the runner"
        yield f"given {job.id}", partial(timeline.done, "GitHub", text)
    for number, step in enumerate(job.steps):
        yield from _list_step_facts(f"step {job.id} {number}", step, timeline)
    if job.state == "completed":
        ended = f"is over: {job.result}"
        took = job.completed_at - job.started_at if job.started_at else None
        style = RESULTS.get(job.result, "")
        yield f"over {job.id}", partial(timeline.done, "job", ended, took=took, style=style)


def _list_step_facts(
    key: str, step: Step, timeline: Timeline
) -> Iterator[tuple[str, Callable[[], None]]]:
    if step.state != "queued" and step.result != "skipped":
        yield f"{key} runs", partial(timeline.begin, key, "job", f"runs “{step.name}”")
    if step.state == "completed" and step.result != "skipped":
        answer = find_answer(step)
        outcome = f"prints: {answer}" if answer and step.result == "succeeded" else step.result
        style = RESULTS.get(step.result, "") if step.result != "succeeded" else ""
        text = f"“{step.name}” {outcome}"
        yield f"{key} over", partial(timeline.done, "job", text, key, style=style)


def find_answer(step: Step) -> str:
    """Return the line "I am …" in which a step prints who it is; "" if there is none."""
    with suppress(StopIteration):
        return next(line for line in step.log.splitlines() if line.startswith("I am "))
    return ""
