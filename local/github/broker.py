"""The broker: sessions of listeners, and the messages that they ask for."""

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from local.github.answers import Handler, Refusal, answer, nothing, posted
from local.github.jobs import Job
from local.github.runners import Runner
from local.github.services import BrokerError, find_token, origin, own_runner
from local.github.world import Session, SessionConflictError, World


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give its calls."""
    yield "POST", "/broker/session", "runner-session", _open
    yield "DELETE", "/broker/session", "runner-session-end", _close
    yield "GET", "/broker/message", "runner-message", _message
    yield "POST", "/broker/acknowledge", "job-acknowledge", _acknowledge


def _old(world: World, version: str, where: str) -> bool:
    settings = world.settings
    return version in settings.deprecated_versions and where in settings.deprecated_at


def _too_old(version: str) -> BrokerError:
    text = f"Runner version v{version} is deprecated and cannot receive messages."
    return BrokerError(403, text, "RunnerVersionTooOld")


async def _open(request: web.Request, world: World) -> web.Response:
    _, runner = own_runner(request, world)
    body = await posted(request)
    version = str((body.get("agent") or {}).get("version", ""))
    if _old(world, version, "session"):
        raise _too_old(version)
    try:
        session = world.open_session(runner, str(body.get("ownerName")), version)
    except SessionConflictError:
        message = f"The agent {runner.name} already has an active session."
        raise Refusal(409, message) from None
    return answer({**body, "sessionId": session.id})


async def _close(request: web.Request, world: World) -> web.Response:
    """End the caller's session; the request has no id."""
    _, runner = own_runner(request, world)
    for session in [each for each in world.sessions.values() if each.runner_id == runner.id]:
        world.close_session(session.id)
    return nothing(200)


async def _message(request: web.Request, world: World) -> web.Response:
    find_token(request, world, "runner")
    session = world.sessions.get(request.query.get("sessionId", ""))
    if session is None:
        raise BrokerError(404, "The session does not exist.", "RunnerSessionInvalid")
    version = request.query.get("runnerVersion", "")
    session.polls += 1
    world.changes.ring()
    try:
        found = await world.changes.until(
            lambda: _next(world, session, version, origin(request)), world.settings.poll_seconds
        )
    finally:
        session.polls -= 1
        session.seen_at = world.now()
        if not world.changes.closed:
            world.changes.ring()
    if isinstance(found, Refusal):
        raise found
    return nothing(202) if found is None else answer(found)


def _next(
    world: World, session: Session, version: str, site: str
) -> dict[str, object] | Refusal | None:
    if session.ghost:
        return None
    runner = world.runners.get(session.runner_id)
    if runner is None and world.still_unnoticed(session.runner_id):
        return None
    if runner is None:
        text = "The runner registration does not exist."
        return BrokerError(404, text, "RunnerNotFound")
    if _old(world, version, "message"):
        return _too_old(version)
    if runner.messages:
        kind, body = runner.messages.pop(0)
        return _written(world, kind, body)
    job = world.jobs.get(runner.job_id)
    if job is not None and job.acquired and job.cancel_requested and not job.cancel_sent:
        job.cancel_sent = True
        return _written(world, "JobCancellation", {"jobId": job.key, "timeout": "00:05:00"})
    assigned = world.assign(runner)
    return None if assigned is None else _written(world, "RunnerJobRequest", _job(assigned, site))


def _written(world: World, kind: str, body: dict[str, Any]) -> dict[str, object]:
    number = next(world.message_ids)
    return {"messageId": number, "messageType": kind, "body": json.dumps(body)}


def _job(job: Job, site: str) -> dict[str, Any]:
    return {
        "id": job.request,
        "runner_request_id": job.request,
        "should_acknowledge": True,
        "run_service_url": f"{site}/run/",
        "billing_owner_id": "O_1",
    }


async def _acknowledge(request: web.Request, world: World) -> web.Response:
    _, runner = own_runner(request, world)
    body = await posted(request)
    job = find_assigned_job(world, runner, str(body.get("runnerRequestId", "")))
    if job is None:
        raise BrokerError(404, "The job does not exist.", "AcknowledgeJobNotFound")
    return nothing(200)


def find_assigned_job(world: World, runner: Runner, request_id: str) -> Job | None:
    """Return the job that was assigned to the runner under that id."""
    job = world.jobs.get(runner.job_id)
    return job if job is not None and job.request == request_id else None
