"""Judge a storm of real processes by what is seen from outside at its end."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from local import aws

if TYPE_CHECKING:
    from local.ecs import Task
    from local.github.jobs import Job
    from tests.storms.real.world import World

LAUNCH_TAG = "runner-launcher:launch"
CRASHES = ("message.crashed", "service.failed")
PATIENCE, HOPELESS = 240.0, 5.0
"""Seconds that the rest is awaited, on a busy machine; and where something is wrong already."""


async def judge(world: World) -> list[str]:
    """Return what is wrong at the end: nothing, if the launcher keeps its promises."""
    wrong = [*world.wrong, *_judge_jobs(world), *_judge_tasks(world), *_judge_logs(world)]
    return [*wrong, *await _judge_left(world, HOPELESS if wrong else PATIENCE)]


def _judge_jobs(world: World) -> list[str]:
    marks = world.marks.read_text(encoding="utf-8").split("\n") if world.marks.exists() else []
    ran = Counter(marks)
    wrong = []
    for name in {job.name for job in world.jobs}:
        jobs = [job for job in world.jobs if job.name == name]
        least = sum(not job.cancel_requested for job in jobs)
        if not least <= ran[name] <= len(jobs):
            wrong.append(f"{name} ran {ran[name]} times instead of {least}")
        wrong += [line for job in jobs for line in _judge_result(job)]
    return wrong


def _judge_result(job: Job) -> list[str]:
    if job.state != "completed":
        return [f"{job.name} is still {job.state}"]
    wanted = ("succeeded", "canceled") if job.cancel_requested else ("succeeded",)
    return [] if job.result in wanted else [f"{job.name} is over: {job.result}"]


def _judge_tasks(world: World) -> list[str]:
    """Find two tasks of one launch that lived, and were free, at the same time."""
    told = world.stage.ecs.events.told
    wrong = []
    tasks = world.stage.ecs.tasks
    for number, task in enumerate(tasks):
        others = [it for it in tasks[:number] if it.tags[LAUNCH_TAG] == task.tags[LAUNCH_TAG]]
        begun = next(at for at, event in enumerate(told) if _is_of(event, task))
        free = [it for it in others if not _was_stopping(it, told[:begun])]
        free = [it for it in free if not _had_job(it, world.jobs, task.created_at)]
        wrong += [f"two living tasks for one job: {it.facts.id} and {task.facts.id}" for it in free]
    return wrong


def _is_of(event: dict[str, Any], task: Task) -> bool:
    return bool(event["detail"]["taskArn"] == task.arn)


def _was_stopping(task: Task, told: list[dict[str, Any]]) -> bool:
    own = [event["detail"] for event in told if _is_of(event, task)]
    return any(detail["desiredStatus"] == "STOPPED" for detail in own)


def _had_job(task: Task, jobs: list[Job], at: float) -> bool:
    return any(task.facts.id in job.runner_name and job.started_at <= at for job in jobs)


def _judge_logs(world: World) -> list[str]:
    found = [event for process in world.stage.launchers for event in process.events]
    crashed = [event for event in found if event["event"] in CRASHES]
    return [f"the launcher crashes: {str(event)[:1500]}" for event in crashed[:3]]


async def _judge_left(world: World, seconds: float) -> list[str]:
    stage = world.stage
    try:
        await stage.check_nothing_left(seconds)
    except TimeoutError:
        living = [task.arn for task in stage.ecs.living()]
        return [f"no rest: tasks {living}, messages {await stage.count_messages()}"]
    except AssertionError as error:
        return [str(error) or "a secret was told"]
    items = await _read(stage.moto)
    open_ = [name for name, item in items.items() if name.startswith("launch#") and _is_open(item)]
    counters = [name for name, item in items.items() if int(item.get("places", {"N": 0})["N"])]
    processes = [task.facts.id for task in stage.ecs.tasks if world.find_processes(task)]
    return [
        *(f"{name} is not over in the table" for name in open_),
        *(f"{name} still counts something" for name in counters),
        *(f"a process of task {name} is left" for name in processes),
    ]


async def _read(moto: str) -> dict[str, dict[str, Any]]:
    items = await asyncio.to_thread(aws.read_table, moto, "launches")
    return {item["id"]["S"]: item for item in items}


def _is_open(item: dict[str, Any]) -> bool:
    return not item.get("ended", {"BOOL": False})["BOOL"]
