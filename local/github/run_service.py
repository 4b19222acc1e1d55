"""The run service: jobs are fetched, kept alive and completed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from local.github import messages
from local.github.answers import Handler, answer, nothing, posted
from local.github.broker import find_assigned_job
from local.github.jobs import Job
from local.github.services import BrokerError, find_token, origin, own_runner
from local.github.world import World

CONCLUSIONS = ("succeeded", "failed", "canceled", "skipped", "abandoned")


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give its calls."""
    yield "POST", "/run/acquirejob", "job-acquire", _acquire
    yield "POST", "/run/renewjob", "job-renew", _renew
    yield "POST", "/run/completejob", "job-complete", _complete


async def _acquire(request: web.Request, world: World) -> web.Response:
    """Hand a job out, once."""
    _, runner = own_runner(request, world)
    body = await posted(request)
    job = find_assigned_job(world, runner, str(body.get("jobMessageId", "")))
    if job is None:
        raise BrokerError(404, "The job does not exist.")
    if job.acquired:
        raise BrokerError(409, "The job has been acquired already.")
    world.acquire(job)
    token = world.mint("job", runner.scope, 86400)
    token.runner_id, token.job_id = runner.id, job.id
    return answer(messages.job(job, runner, origin(request), token.value))


async def _own_job(request: web.Request, world: World) -> tuple[Job, dict[str, Any]]:
    token = find_token(request, world, "job")
    body = await posted(request)
    job = world.jobs.get(token.job_id)
    mine = job is not None and (body.get("planId"), body.get("jobId")) == (job.plan, job.key)
    if job is None or not mine or job.state == "completed" or job.runner_id != token.runner_id:
        raise BrokerError(404, "The job does not exist, or is over.")
    return job, body


async def _renew(request: web.Request, world: World) -> web.Response:
    job, _ = await _own_job(request, world)
    world.renew(job)
    until = datetime.now(UTC) + timedelta(seconds=world.settings.lost_after)
    return answer({"lockedUntil": until.isoformat()})


async def _complete(request: web.Request, world: World) -> web.Response:
    job, body = await _own_job(request, world)
    conclusion = str(body.get("conclusion", ""))
    if conclusion not in CONCLUSIONS:
        raise BrokerError(400, f"no such conclusion: {conclusion!r}")
    world.complete(job, conclusion)
    return nothing(200)
