"""Show many jobs side by side: a line for each that is over, and what goes on with the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.demo.timeline import Timeline
    from local.github.jobs import Job
    from local.launches import Stage


async def watch(stage: Stage, timeline: Timeline) -> None:
    """Show the jobs that end, and count the others, until cancelled."""
    world, over = stage.github.world, set[int]()
    answered, placed = False, False

    def look() -> bool | None:
        timeline.begin("crowd", "demo", _count(stage), keep=True)
        return any(job.state == "completed" and job.id not in over for job in world.jobs) or (
            True if _has_news(stage, answered=answered, placed=placed) else None
        )

    while not world.changes.closed:
        await world.changes.until(look, 0.5)  # ECS rings no bell here
        jobs = list(world.jobs)
        if not answered and _all_answered(stage):
            answered = True
            timeline.done("GitHub", f"has an answer to the webhook of each of {len(jobs)} jobs")
        if not placed and len(stage.ecs.tasks) >= len(jobs):
            placed = True
            timeline.done("ECS", f"has {len(stage.ecs.tasks)} tasks")
        for job in jobs:
            if job.state == "completed" and job.id not in over:
                over.add(job.id)
                timeline.done("job", _describe(job), took=job.completed_at - job.queued_at)


def _has_news(stage: Stage, *, answered: bool, placed: bool) -> bool:
    enough = len(stage.ecs.tasks) >= len(list(stage.github.world.jobs))
    return (not answered and _all_answered(stage)) or (not placed and enough)


def _all_answered(stage: Stage) -> bool:
    queued = {
        each.payload["workflow_job"]["id"]
        for each in stage.github.world.hooks.deliveries
        if each.action == "queued" and each.status_code == 202
    }
    return len(queued) == len(list(stage.github.world.jobs))


def _count(stage: Stage) -> str:
    jobs = Counter(job.state for job in stage.github.world.jobs)
    tasks = Counter(task.status for task in stage.ecs.tasks)
    parts = [f"{number} {state}" for state, number in sorted(jobs.items())]
    own = [f"{number} {status}" for status, number in sorted(tasks.items())]
    return f"sees jobs: {', '.join(parts)}; tasks: {', '.join(own) or 'none'}"


def _describe(job: Job) -> str:
    runner = job.runner_name or "no runner"
    waited = job.started_at - job.queued_at
    return (
        f"“{job.name}” is over: {job.result} on {runner[:12]}…, which it waited {waited:.1f} s for"
    )
