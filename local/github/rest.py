"""The documented REST calls: runners of a scope, Apps."""

from collections.abc import Iterator

from aiohttp import web

from local.github import bodies, callers, files
from local.github.answers import RATE, Handler, Refusal, answer, nothing, posted
from local.github.apps import App, Installation
from local.github.runners import NameTakenError, Runner, StillBusyError
from local.github.scope import Scope
from local.github.world import World
from local.runner.program import keys

SCOPES = ("/repos/{owner}/{repo}", "/orgs/{owner}", "/enterprises/{owner}")


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give method, path, name and handler of each call, without the API's own prefix."""
    for scope in SCOPES:
        runners = f"{scope}/actions/runners"
        yield "POST", f"{runners}/registration-token", "registration-token", _registration_token
        yield "POST", f"{runners}/remove-token", "remove-token", _remove_token
        yield "POST", f"{runners}/generate-jitconfig", "generate-jitconfig", _generate_jitconfig
        yield "GET", runners, "list-runners", _list_runners
        yield "GET", f"{runners}/{{id:\\d+}}", "get-runner", _get_runner
        yield "DELETE", f"{runners}/{{id:\\d+}}", "delete-runner", _delete_runner
    yield "GET", "/orgs/{owner}/installation", "installation", _installation
    yield "GET", "/repos/{owner}/{repo}/installation", "installation", _installation
    yield "GET", "/app", "app", _app
    yield "GET", "/app/installations", "installations", _installations
    yield "GET", "/rate_limit", "rate-limit", _rate_limit
    tokens = "/app/installations/{id:\\d+}/access_tokens"
    yield "POST", tokens, "access-token", _access_token


def scope_of(request: web.Request) -> Scope:
    """Read the scope out of the path."""
    match = request.match_info
    kinds = ("repos", "orgs", "enterprises")
    kind = next(kind for kind in kinds if f"/{kind}/" in request.path)
    return Scope(kind, match["owner"], match.get("repo", ""))


async def _registration_token(request: web.Request, world: World) -> web.Response:
    return _token(request, world, "registration")


async def _remove_token(request: web.Request, world: World) -> web.Response:
    return _token(request, world, "remove")


def _token(request: web.Request, world: World, kind: str) -> web.Response:
    scope = scope_of(request)
    callers.find_caller(request, world, scope)
    token = world.mint(kind, scope)
    return answer(bodies.runner_token(token, world.settings.utc_offset_minutes), 201)


async def _generate_jitconfig(request: web.Request, world: World) -> web.Response:
    scope = scope_of(request)
    callers.find_caller(request, world, scope)
    body = await posted(request)
    name, labels, group = body.get("name"), body.get("labels"), body.get("runner_group_id")
    if not isinstance(name, str) or not name or not isinstance(group, int):
        raise Refusal(422, "Invalid request.\n\nname and runner_group_id must be given.")
    if not isinstance(labels, list) or not 1 <= len(labels) <= 100:
        raise Refusal(422, "Invalid request.\n\nlabels must hold 1 to 100 names.")
    if not 1 <= group <= len(world.settings.runner_groups):
        raise Refusal(404, "Not Found")
    key = keys.written(keys.fresh())
    runner = Runner(
        id=0,
        name=name,
        scope=scope,
        labels=world.runners.labels((str(label) for label in labels), "custom"),
        ephemeral=True,
        visible_at=world.now() + world.settings.visible_after,
        modulus=key["modulus"],
        group_id=group,
        jit=True,
    )
    try:
        world.runners.add(runner)
    except NameTakenError:
        message = f"Already exists - A runner with the name {name} already exists."
        raise Refusal(409, message) from None
    world.show_later(runner)
    work = str(body.get("work_folder") or "_work")
    written = files.of_jit(runner, key, str(request.url.origin()), work)
    described = bodies.runner(runner, online=False)
    return answer(bodies.jit_config(described, written), 201)


async def _list_runners(request: web.Request, world: World) -> web.Response:
    scope = scope_of(request)
    if callers.is_remote(request):
        callers.remote(request, world, scope)
    else:
        callers.find_caller(request, world, scope, write=False)
    per_page = min(max(_number(request, "per_page", 30), 1), 100)
    page = max(_number(request, "page", 1), 1)
    name = "" if world.settings.ignore_name_filter else request.query.get("name", "")
    found = [
        each
        for each in world.runners
        if each.scope.key == scope.key
        and world.visible(each)
        and (not name or each.name.lower() == name.lower())
    ]
    cut = found[(page - 1) * per_page : page * per_page]
    shown = [bodies.runner(each, online=world.online(each)) for each in cut]
    return answer(bodies.runners(shown, len(found)))


def _number(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isdecimal() else otherwise


async def _rate_limit(request: web.Request, world: World) -> web.Response:
    """Tell what is left of the limit; the call costs none of it."""
    if world.tokens.valid(callers.bearer(request), world.now(), "pat", "installation") is None:
        raise Refusal(401, "Bad credentials")
    settings = world.settings
    request[RATE] = callers.rate_headers(world)
    core = {
        "limit": settings.rate_limit,
        "used": settings.rate_limit - settings.rate_remaining,
        "remaining": settings.rate_remaining,
        "reset": int(world.rate_reset_at),
    }
    return answer({"resources": {"core": core, "search": core}, "rate": core})


def _visible_runner(request: web.Request, world: World) -> Runner:
    runner = world.runners.get(int(request.match_info["id"]))
    if runner is None or runner.scope.key != scope_of(request).key or not world.visible(runner):
        raise Refusal(404, "Not Found")
    return runner


async def _get_runner(request: web.Request, world: World) -> web.Response:
    callers.find_caller(request, world, scope_of(request), write=False)
    runner = _visible_runner(request, world)
    return answer(bodies.runner(runner, online=world.online(runner)))


async def _delete_runner(request: web.Request, world: World) -> web.Response:
    if remote := callers.is_remote(request):
        callers.remote(request, world, scope_of(request), remove=True)
    else:
        callers.find_caller(request, world, scope_of(request))
    runner = _visible_runner(request, world)
    try:
        world.runners.remove(runner, "remove" if remote else "rest")
    except StillBusyError:
        message = f'Bad request - Runner "{runner.name}" is still running a job"'
        raise Refusal(422, message) from None
    return nothing()


async def _installation(request: web.Request, world: World) -> web.Response:
    app, scope = callers.app(request, world), scope_of(request)
    for each in app.installations:
        if each.covers(scope):
            site = str(request.url.origin())
            api = site + request.path.partition(f"/{scope.kind}/")[0]
            return answer(bodies.installation(app, each, api, site, world.now()))
    raise Refusal(404, "Not Found")


async def _app(request: web.Request, world: World) -> web.Response:
    return answer(bodies.app(callers.app(request, world), *_find_sites(request, "/app")))


async def _installations(request: web.Request, world: World) -> web.Response:
    app = callers.app(request, world)
    api, site = _find_sites(request, "/app")
    found = [bodies.installation(app, each, api, site, world.now()) for each in app.installations]
    return answer(found)


def _find_sites(request: web.Request, before: str) -> tuple[str, str]:
    """Return the URLs of the API and of the site that a request came to."""
    site = str(request.url.origin())
    return site + request.path.partition(before)[0], site


async def _access_token(request: web.Request, world: World) -> web.Response:
    app = callers.app(request, world)
    installation = _own_installation(app, int(request.match_info["id"]))
    if installation.suspended_at is not None:
        raise Refusal(403, "This installation has been suspended")
    body = await posted(request)
    wanted = body.get("permissions") or installation.permissions
    if not isinstance(wanted, dict) or any(
        _rank(level) > _rank(installation.permissions.get(name, ""))
        for name, level in wanted.items()
    ):
        message = "The permissions requested are not granted to this installation."
        raise Refusal(422, message)
    token = world.mint("installation", None)
    token.installation_id, token.permissions = installation.id, dict(wanted)
    offset = world.settings.utc_offset_minutes
    return answer(bodies.installation_token(token, installation, offset), 201)


def _own_installation(app: App, installation_id: int) -> Installation:
    for each in app.installations:
        if each.id == installation_id:
            return each
    raise Refusal(404, "Not Found")


def _rank(level: object) -> int:
    return {"read": 1, "write": 2, "admin": 3}.get(str(level), 0)
