"""The calls that only the runner's program makes.

`runner-registration` is GitHub's own form (actions/runner, `ConfigurationManager`). What follows
it keeps the shape of the service behind GitHub (pools, agents, sessions, messages); the bodies of
messages and jobs are this stand-in's own.
"""

import secrets
from collections.abc import Iterator

from aiohttp import web

from local.github import files
from local.github.answers import Handler, Refusal, answer, nothing, posted
from local.github.callers import bearer
from local.github.jobs import Job
from local.github.runners import NameTakenError, Runner, StillBusyError
from local.github.scope import NoScopeError, Scope
from local.github.tokens import Token
from local.github.world import Session, SessionConflictError, World

RESULTS = ("succeeded", "failed", "canceled", "skipped", "abandoned")


def registration_routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give the one call that stands under the API's prefix."""
    yield "POST", "/actions/runner-registration", "runner-registration", _register


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give the calls behind it."""
    yield "POST", "/_services/oauth/token", "runner-oauth", _exchange
    base = "/_services/pipelines/{tenant}/_apis"
    pool = f"{base}/distributedtask/pools/{{pool}}"
    yield "GET", f"{base}/distributedtask/pools", "runner-pools", _pools
    yield "GET", f"{pool}/agents", "runner-agents", _agents
    yield "POST", f"{pool}/agents", "runner-add", _add
    yield "PUT", f"{pool}/agents/{{id:\\d+}}", "runner-replace", _replace
    yield "DELETE", f"{pool}/agents/{{id:\\d+}}", "runner-delete", _delete
    yield "POST", f"{pool}/sessions", "runner-session", _open
    yield "DELETE", f"{pool}/sessions/{{id}}", "runner-session-end", _close
    yield "GET", f"{pool}/messages", "runner-message", _message
    job = f"{base}/jobs/{{id:\\d+}}"
    yield "POST", f"{job}/acquire", "job-acquire", _acquire
    yield "POST", f"{job}/renew", "job-renew", _renew
    yield "POST", f"{job}/feed", "job-feed", _feed
    yield "POST", f"{job}/complete", "job-complete", _complete


async def _register(request: web.Request, world: World) -> web.Response:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    body = await posted(request)
    event = body.get("runner_event")
    kinds = {"register": ("registration",), "remove": ("remove", "registration")}
    try:
        scope = Scope.of_url(str(body.get("url", "")))
    except NoScopeError:
        raise Refusal(404, "Not Found") from None
    found = None
    if kind == "RemoteAuth" and event in kinds:
        found = world.tokens.valid(value, world.now(), *kinds[event])
    if found is None or found.scope is None or found.scope.key != scope.key:
        raise Refusal(404, "Not Found")
    granted = world.mint("tenant", scope, 3600)
    return answer(
        {
            "url": files.tenant(scope.key, str(request.url.origin())),
            "token_schema": "OAuthAccessToken",
            "token": granted.value,
            "use_runner_admin_flow": False,
        }
    )


async def _exchange(request: web.Request, world: World) -> web.Response:
    body = await posted(request)
    for runner in world.runners:
        if runner.client_id == body.get("client_id") and runner.secret == body.get("proof"):
            token = world.mint("runner", runner.scope, 3600)
            token.runner_id = runner.id
            return answer({"access_token": token.value, "expires_in": 3600})
    return answer({"error": "invalid_client", "error_description": "No such client."}, 400)


def _granted(request: web.Request, world: World, *kinds: str) -> Token:
    token = world.tokens.valid(bearer(request), world.now(), *(kinds or ("tenant", "runner")))
    if token is None or token.scope is None:
        raise Refusal(401, "TF400813: The user is not authorized to access this resource.")
    return token


def _scope(token: Token) -> Scope:
    if token.scope is None:
        raise Refusal(401, "TF400813: The user is not authorized to access this resource.")
    return token.scope


def _own_runner(token: Token, world: World) -> Runner:
    runner = world.runners.get(token.runner_id)
    if runner is None:
        raise Refusal(404, "The runner registration does not exist.")
    return runner


async def _pools(request: web.Request, world: World) -> web.Response:
    _granted(request, world)
    pools = [
        {"id": number, "name": name, "isInternal": number == 1, "isHosted": False}
        for number, name in enumerate(world.settings.runner_groups, 1)
    ]
    return answer({"count": len(pools), "value": pools})


async def _agents(request: web.Request, world: World) -> web.Response:
    token = _granted(request, world)
    runner = world.runners.named(_scope(token), request.query.get("agentName", ""))
    found = [] if runner is None else [{"id": runner.id, "name": runner.name}]
    return answer({"count": len(found), "value": found})


async def _new_runner(request: web.Request, world: World, scope: Scope) -> Runner:
    body = await posted(request)
    labels = world.runners.labels(map(str, body.get("systemLabels") or []), "read-only")
    labels += world.runners.labels(map(str, body.get("labels") or []), "custom")
    return Runner(
        id=0,
        name=str(body["name"]),
        scope=scope,
        labels=labels,
        ephemeral=bool(body.get("ephemeral")),
        visible_at=world.now() + world.settings.visible_after,
        secret=str(body["publicKey"]),
        group_id=int(request.match_info["pool"]),
        version=str(body.get("version", "")),
        operating_system=str(body.get("os", "linux")),
    )


def _agent(runner: Runner, request: web.Request) -> web.Response:
    authorization = f"{request.url.origin()}/_services/oauth/token"
    return answer(
        {
            "id": runner.id,
            "name": runner.name,
            "ephemeral": runner.ephemeral,
            "authorization": {
                "clientId": runner.client_id,
                "authorizationUrl": authorization,
            },
        }
    )


async def _add(request: web.Request, world: World) -> web.Response:
    token = _granted(request, world, "tenant")
    runner = await _new_runner(request, world, _scope(token))
    if len(runner.name) > 64:
        raise Refusal(400, f"The runner name {runner.name} exceeds 64 characters.")
    try:
        world.runners.add(runner)
    except NameTakenError:
        message = f"The pool 1 already contains an agent with name {runner.name}."
        raise Refusal(409, message) from None
    world.show_later(runner)
    return _agent(runner, request)


def _named_in_path(request: web.Request, world: World, token: Token) -> Runner:
    runner = world.runners.get(int(request.match_info["id"]))
    if runner is None or runner.scope.key != _scope(token).key:
        raise Refusal(404, "The agent does not exist in the pool.")
    return runner


def _still_busy(runner: Runner) -> Refusal:
    return Refusal(400, f'Runner "{runner.name}" is still running a job"')


async def _replace(request: web.Request, world: World) -> web.Response:
    token = _granted(request, world, "tenant")
    old = _named_in_path(request, world, token)
    runner = await _new_runner(request, world, old.scope)
    runner.id = old.id
    try:
        world.runners.remove(old, "replaced")
    except StillBusyError:
        raise _still_busy(old) from None
    return _agent(world.runners.add(runner), request)


async def _delete(request: web.Request, world: World) -> web.Response:
    token = _granted(request, world, "tenant")
    runner = _named_in_path(request, world, token)
    try:
        world.runners.remove(runner, "remove")
    except StillBusyError:
        raise _still_busy(runner) from None
    return nothing()


async def _open(request: web.Request, world: World) -> web.Response:
    runner = _own_runner(_granted(request, world, "runner"), world)
    body = await posted(request)
    try:
        session = world.open_session(runner, str(body.get("ownerName")), str(body.get("version")))
    except SessionConflictError:
        message = f"The agent {runner.name} already has an active session."
        raise Refusal(409, message) from None
    return answer({"sessionId": session.id})


async def _close(request: web.Request, world: World) -> web.Response:
    _granted(request, world, "runner")
    world.close_session(request.match_info["id"])
    return nothing()


async def _message(request: web.Request, world: World) -> web.Response:
    session = world.sessions.get(request.query.get("sessionId", ""))
    if session is None:
        raise Refusal(404, "The session does not exist.")
    if session.version in world.settings.deprecated_versions:
        version = f"Runner version v{session.version}"
        raise Refusal(403, f"{version} is deprecated and cannot receive messages.")
    session.polls += 1
    world.changes.ring()
    try:
        found = await world.changes.until(
            lambda: _next(world, session), world.settings.poll_seconds
        )
    finally:
        session.polls -= 1
        session.seen_at = world.now()
        if not world.changes.closed:
            world.changes.ring()
    if isinstance(found, Refusal):
        raise found
    return nothing(202) if found is None else answer(found)


def _next(world: World, session: Session) -> dict[str, object] | Refusal | None:
    if session.ghost:
        return None
    runner = world.runners.get(session.runner_id)
    if runner is None:
        return Refusal(404, "The runner registration does not exist.")
    job = world.jobs.get(runner.job_id)
    if job is not None and job.acquired and job.cancel_requested and not job.cancel_told:
        job.cancel_told = True
        return {"messageType": "JobCancellation", "jobId": job.id}
    assigned = world.assign(runner)
    if assigned is not None:
        return {"messageType": "RunnerJobRequest", "jobId": assigned.id}
    return None


def _own_job(request: web.Request, world: World) -> Job:
    token = _granted(request, world, "runner")
    job = world.jobs.get(int(request.match_info["id"]))
    if job is None or job.runner_id != token.runner_id or job.state == "completed":
        raise Refusal(404, "The job does not exist, or is another runner's.")
    return job


async def _acquire(request: web.Request, world: World) -> web.Response:
    job = _own_job(request, world)
    world.acquire(job)
    runner = world.runners.get(job.runner_id)
    scope = runner.scope if runner else Scope("repos", "octo", "repo")
    repository = job.repository or f"{scope.owner}/{scope.repository or 'repo'}"
    return answer(
        {
            "id": job.id,
            "name": job.name,
            "repository": repository,
            "run_id": job.id,
            "env": job.env,
            "steps": [
                {"run": step.run, "name": step.name, "if": step.condition} for step in job.steps
            ],
            "lock_seconds": world.settings.lock_seconds,
            "server_url": str(request.url.origin()),
            "sha": secrets.token_hex(20),
        }
    )


async def _renew(request: web.Request, world: World) -> web.Response:
    world.renew(_own_job(request, world))
    return nothing()


async def _feed(request: web.Request, world: World) -> web.Response:
    job = _own_job(request, world)
    body = await posted(request)
    text = str(body.get("text", ""))
    number = body.get("step")
    if isinstance(number, int) and 0 <= number < len(job.steps):
        step = job.steps[number]
        step.log += text
        step.state = str(body.get("state") or step.state)
        step.result = str(body.get("result") or step.result)
    else:
        name = str(body.get("name", ""))
        job.runner_logs[name] = job.runner_logs.get(name, "") + text
    world.changes.ring()
    return nothing()


async def _complete(request: web.Request, world: World) -> web.Response:
    job = _own_job(request, world)
    result = str((await posted(request)).get("result", ""))
    if result not in RESULTS:
        raise Refusal(400, f"no such result: {result!r}")
    world.complete(job, result)
    return nothing()
