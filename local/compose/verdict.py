"""What happened and what is left, compared with what should be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from local import aws
from local.compose.job import CONTAINERS
from local.demo.verdict import NOTHING, Check, listed
from local.demo.watching import WHY, said_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.compose.stage import Stage
    from local.github.jobs import Job


async def verified(stage: Stage, job: Job, token: str) -> list[Check]:
    """Look at everything, while the stand-ins still stand."""
    left = [
        ("parameters in SSM", await asyncio.to_thread(aws.names, stage.moto)),
        ("runners at GitHub", [each.name for each in stage.github.world.runners]),
    ]
    return [
        *_happened(stage, job, token),
        *(Check(what, NOTHING, listed(found), left=True) for what, found in left),
    ]


def _happened(stage: Stage, job: Job, token: str) -> Iterator[Check]:
    yield Check("the job's result", "succeeded", job.result or job.state)
    said = {step.name: said_by(step).removeprefix("I am ") for step in job.steps}
    for name in CONTAINERS:
        wanted = stage.ecs.task.identity
        yield Check(f"to AWS, of “{name}” it is", wanted, said[name] or NOTHING)
    asked = [seen.path for seen in stage.instance.requests if "credentials" in seen.path]
    yield Check("the instance was asked for its role", "never", listed(asked) if asked else "never")
    removed = [WHY.get(each.by, each.by) for each in stage.github.world.runners.removed]
    yield Check("the runner was taken off GitHub", WHY["job-completed"], listed(removed))
    yield Check("the token, seen by the job", "never", "yes" if token in job.log() else "never")
