"""What must hold at the end of a storm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.storms import launching
from tests.storms.calls import loop_time
from tests.storms.github import CANARY

if TYPE_CHECKING:
    from tests.storms.github import Job
    from tests.storms.world import World

    Events = list[dict[str, Any]]

GRACE = 600.0
"""Seconds from a machine's last limit to its end: it is asked to end, and EC2 takes its time."""


def judge(world: World, events: Events) -> list[str]:
    """Return what is wrong at the end: nothing, if the launcher keeps its promises."""
    named = Named(events)
    return [
        *world.wrong,
        *(line for job in world.admitted for line in judge_job(job, named)),
        *_judge_strangers(world),
        *_judge_left(world, named),
        *_judge_machines(world),
        *_judge_queue(world),
        *judge_secrets(world, events),
        *judge_errors(events),
    ]


class Named:
    """What the launcher's warnings and errors name."""

    def __init__(self, events: Events) -> None:
        loud = [it for it in events if it["log_level"] in ("warning", "error", "critical")]
        self._text = "\n".join(json.dumps(it, default=str) for it in loud)

    def __contains__(self, name: object) -> bool:
        return str(name) in self._text


def judge_job(job: Job, named: Named) -> list[str]:
    """Find what is wrong with a job that has to run once."""
    if job.began > 1:
        return [f"job {job.id} ran {job.began} times"]
    if job.over or f'"job": {job.id}' in named:
        return []
    return [f"job {job.id} is still {job.status}, and no event says why"]


def _judge_strangers(world: World) -> list[str]:
    return [
        f"job {job.id}, a stranger's, ran"
        for job in world.github.jobs.values()
        if job.head and job.conclusion == "success" and not (job.runner and job.runner.foreign)
    ]


def _judge_left(world: World, named: Named) -> list[str]:
    left = {
        "parameter": list(world.ssm.parameters),
        "task": [task.id for task in world.ecs.tasks.values() if task.status != "STOPPED"],
        "machine": [it.id for it in world.ec2.machines.values() if it.state != "terminated"],
        "runner": [it.name for it in world.github.runners.values() if not it.foreign],
        "launch": launching.find_living(world.table.items),
        "counter": launching.find_counters(world.table.items),
    }
    return [
        f"{kind} {name} is left"
        for kind, names in left.items()
        for name in names
        if name not in named
    ]


def _judge_machines(world: World) -> list[str]:
    """Find machines that have lived longer than their limit, whatever became of them."""
    lived = [(it, (it.ended or loop_time()) - it.began) for it in world.ec2.machines.values()]
    return [
        f"machine {it.id} ({it.fate}) has lived for {seconds:.0f} s"
        for it, seconds in lived
        if seconds > it.limit + GRACE
    ]


def _judge_queue(world: World) -> list[str]:
    bodies = [body for body in world.sqs.bodies() if body.get("kind") != "tick"]
    return [
        *(f"a message is still in the queue: {str(body)[:200]}" for body in bodies),
        *(f"a dead letter: {held.body[:300]}" for held in world.sqs.dead),
    ]


def judge_secrets(world: World, events: Events) -> list[str]:
    """Find secrets where none may be."""
    places = {
        "the table": str(world.table.items),
        "the queue": str(world.sqs.bodies()) + str([held.body for held in world.sqs.dead]),
        "a request of RunTask": str([task.request for task in world.ecs.tasks.values()]),
        "a request of EC2": str([it.request for it in world.ec2.machines.values()]),
        "the log": str(events),
    }
    return [f"a secret is in {where}" for where, text in places.items() if CANARY in text]


def judge_errors(events: Events) -> list[str]:
    """Find the launcher's own mistakes."""
    crashed = [it for it in events if it["event"].endswith(".crashed")]
    return [f"the launcher crashes: {str(it)[:1500]}" for it in crashed[:3]]
