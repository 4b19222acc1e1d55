"""Compare what happened, and what is left, with what should be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from local import aws
from local.compose.job import CONTAINERS
from local.demo.verdict import NOTHING, Check, list_all
from local.demo.watching import REASONS, find_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.compose.stand_ins import ComposeStage
    from local.github.jobs import Job


async def verify(stage: ComposeStage, job: Job, token: str) -> list[Check]:
    """Check everything, while the stand-ins still run."""
    left = [
        ("parameters in SSM", await asyncio.to_thread(aws.names, stage.moto)),
        ("runners at GitHub", [each.name for each in stage.world.runners]),
    ]
    return [
        *_check_events(stage, job, token),
        *(Check(what, NOTHING, list_all(found), left=True) for what, found in left),
    ]


def _check_events(stage: ComposeStage, job: Job, token: str) -> Iterator[Check]:
    yield Check("the job's result", "succeeded", job.result or job.state)
    answers = {step.name: find_answer(step).removeprefix("I am ") for step in job.steps}
    for name in CONTAINERS:
        wanted = stage.ecs.task.identity
        yield Check(f"to AWS, of “{name}” it is", wanted, answers[name] or NOTHING)
    asked = [seen.path for seen in stage.instance.requests if "credentials" in seen.path]
    yield Check(
        "the instance was asked for its role", "never", list_all(asked) if asked else "never"
    )
    removed = [REASONS.get(each.by, each.by) for each in stage.world.runners.removed]
    yield Check("the runner was taken off GitHub", REASONS["job-completed"], list_all(removed))
    yield Check("the token, seen by the job", "never", "yes" if token in job.log() else "never")
