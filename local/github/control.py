"""The control plane: what a test or a demo does that GitHub has no call for.

It stands below a path that nobody can guess, unless another one is asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from aiohttp import web

from local.github import apps, bodies, hooks_control, views
from local.github.answers import Handler, Refusal, answer, posted
from local.github.faults import WrongFaultError
from local.github.jobs import Job, WrongJobError
from local.github.runners import Runner, StillBusyError
from local.github.scope import NoScopeError, Scope
from local.github.settings import WrongSettingError
from local.github.world import World


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give method, path, name and handler of each call."""
    yield "GET", "/state", "_state", _state
    yield "PATCH", "/settings", "_settings", _settings
    yield "POST", "/faults", "_faults", _fault
    yield "DELETE", "/faults", "_faults", _behave
    yield "POST", "/registration-tokens", "_tokens", _registration_token
    yield "POST", "/tokens", "_tokens", _token
    yield "POST", "/apps", "_apps", _app
    yield "POST", "/jobs", "_jobs", _queue
    yield "GET", "/jobs/{id:\\d+}", "_jobs", _job
    yield "GET", "/jobs/{id:\\d+}/wait", "_jobs", _job_wait
    yield "POST", "/jobs/{id:\\d+}/wait", "_jobs", _job_wait
    yield "POST", "/jobs/{id:\\d+}/cancel", "_jobs", _cancel
    yield "GET", "/runners/wait", "_runners", _runner_wait
    yield "DELETE", "/runners/{id:\\d+}", "_runners", _forget
    yield "POST", "/runners/{id:\\d+}/ghost", "_runners", _ghost
    yield "GET", "/calls/wait", "_calls", _calls_wait
    yield "POST", "/jobs/{id:\\d+}/approve", "_jobs", _approve
    yield "POST", "/jobs/{id:\\d+}/rerun", "_jobs", _rerun
    yield from hooks_control.routes()


async def _state(_request: web.Request, world: World) -> web.Response:
    return answer(world.describe())


async def _settings(request: web.Request, world: World) -> web.Response:
    try:
        world.settings.update(await posted(request))
    except WrongSettingError as error:
        raise Refusal(400, str(error)) from error
    world.changes.ring()
    return answer(asdict(world.settings))


async def _fault(request: web.Request, world: World) -> web.Response:
    try:
        return answer(asdict(world.faults.add(await posted(request))), 201)
    except WrongFaultError as error:
        raise Refusal(400, str(error)) from error


async def _behave(_request: web.Request, world: World) -> web.Response:
    world.faults.clear()
    return answer({})


def _scope(body: dict[str, Any]) -> Scope:
    try:
        return Scope.of_path(str(body.get("scope", "")))
    except NoScopeError as error:
        raise Refusal(400, str(error)) from error


async def _registration_token(request: web.Request, world: World) -> web.Response:
    body = await posted(request)
    token = world.mint("registration", _scope(body), body.get("expires_in"))
    return answer(bodies.runner_token(token, world.settings.utc_offset_minutes), 201)


async def _token(request: web.Request, world: World) -> web.Response:
    body = await posted(request)
    kind = str(body.get("kind", "pat"))
    if kind not in ("pat", "remove", "registration"):
        raise Refusal(400, f"kind must be pat, registration or remove, not {kind!r}")
    scope = _scope(body) if "scope" in body else None
    token = world.mint(kind, scope, body.get("expires_in", 86400 * 30))
    token.permission = str(body.get("permission", "write"))
    return answer(bodies.runner_token(token, world.settings.utc_offset_minutes), 201)


async def _app(request: web.Request, world: World) -> web.Response:
    body = await posted(request)
    if "public_key" in body:
        private, numbers = "", apps.public_numbers(str(body["public_key"]))
    else:
        private, *pair = apps.fresh_key()
        numbers = (pair[0], pair[1])
    app = world.apps.add(str(body.get("slug", "runners")), *numbers)
    for each in body.get("installations") or [{"account": "octo"}]:
        kind, repositories = each.get("type", "Organization"), each.get("repositories", ())
        world.apps.install(app, each["account"], kind, repositories).permissions.update(
            each.get("permissions", {})
        )
    ids = [each.id for each in app.installations]
    described = {"app_id": app.id, "client_id": app.client_id, "installation_ids": ids}
    return answer({**described, "private_key": private}, 201)


async def _queue(request: web.Request, world: World) -> web.Response:
    try:
        job = world.jobs.add(await posted(request), world.now())
    except WrongJobError as error:
        raise Refusal(400, str(error)) from error
    return answer({"id": job.id, "run_id": job.run.id}, 201)


def _found(request: web.Request, world: World) -> Job:
    job = world.jobs.get(int(request.match_info["id"]))
    if job is None:
        raise Refusal(404, "no such job")
    return job


async def _job(request: web.Request, world: World) -> web.Response:
    return answer(views.job(_found(request, world)))


async def _asked(request: web.Request) -> dict[str, str]:
    """Give what is waited for: query and body alike."""
    return {**request.query, **{name: str(each) for name, each in (await posted(request)).items()}}


async def _wait(world: World, asked: dict[str, str], look: Callable[[], bool]) -> None:
    seconds = float(asked.get("timeout", "30"))
    if await world.changes.until(lambda: look() or None, seconds) is None:
        raise Refusal(408, f"not so within {seconds:g} s")


async def _job_wait(request: web.Request, world: World) -> web.Response:
    job, asked = _found(request, world), await _asked(request)
    state, log = asked.get("state", "" if "log" in asked else "completed"), asked.get("log", "")
    order = ["", "waiting", "queued", "running", "completed"]
    if state not in order:
        raise Refusal(400, f"state must be queued, running or completed, not {state!r}")

    def look() -> bool:
        return order.index(job.state) >= order.index(state) and (not log or log in job.log())

    await _wait(world, asked, look)
    return answer(views.job(job))


async def _cancel(request: web.Request, world: World) -> web.Response:
    job = _found(request, world)
    if not world.cancel(job):
        raise Refusal(409, "the job has ended")
    return answer(views.job(job), 202)


async def _approve(request: web.Request, world: World) -> web.Response:
    job = _found(request, world)
    if not world.approve(job, rejected=request.query.get("rejected") == "true"):
        raise Refusal(409, "the job waits for no approval")
    return answer(views.job(job))


async def _rerun(request: web.Request, world: World) -> web.Response:
    job = _found(request, world)
    if job.state != "completed":
        raise Refusal(409, "the job has not ended")
    (again,) = world.jobs.run_again([job], world.now())
    return answer({"id": again.id, "run_id": again.run.id}, 201)


def _is(world: World, runner: Runner | None, state: str) -> bool:
    if runner is None:
        return state == "gone"
    shown = views.runner(world, runner)
    return bool(
        {
            "registered": True,
            "visible": shown["visible"],
            "listening": shown["listening"],
            "online": shown["status"] == "online",
            "offline": shown["status"] == "offline",
            "busy": runner.busy,
            "idle": shown["listening"] and not runner.busy,
        }.get(state, False)
    )


async def _runner_wait(request: web.Request, world: World) -> web.Response:
    asked = await _asked(request)
    name, state = asked.get("name", ""), asked.get("state", "listening")
    last: list[Runner] = []

    def look() -> bool:
        fitting = [each for each in world.runners if not name or each.name == name]
        if state == "gone":
            return not fitting
        last[:] = [each for each in fitting if _is(world, each, state)]
        return bool(last)

    await _wait(world, asked, look)
    return answer(views.runner(world, last[0]) if last else {})


def _runner(request: web.Request, world: World) -> Runner:
    runner = world.runners.get(int(request.match_info["id"]))
    if runner is None:
        raise Refusal(404, "no such runner")
    return runner


async def _forget(request: web.Request, world: World) -> web.Response:
    force = request.query.get("force") == "true"
    try:
        world.runners.remove(_runner(request, world), "test", force=force)
    except StillBusyError:
        raise Refusal(409, "the runner is busy (force=true removes it all the same)") from None
    return answer({})


async def _ghost(request: web.Request, world: World) -> web.Response:
    world.make_ghost(_runner(request, world))
    return answer({})


async def _calls_wait(request: web.Request, world: World) -> web.Response:
    asked = await _asked(request)
    name, count = asked.get("call", ""), int(asked.get("count", "1"))
    await _wait(world, asked, lambda: world.calls[name] >= count)
    return answer(dict(world.calls))
