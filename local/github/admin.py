"""The admin flow (`use_v2_flow`): REST calls that the registration token itself opens."""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from local.github import callers, signatures
from local.github.answers import Handler, Refusal, answer, posted
from local.github.runners import NameTakenError, Runner, StillBusyError
from local.github.scope import NoScopeError, Scope
from local.github.services import origin
from local.github.tenant import labels
from local.github.world import World


def routes(scopes: tuple[str, ...]) -> Iterator[tuple[str, str, str, Handler]]:
    """Give the calls, without the API's own prefix. List and delete are REST's own."""
    yield "POST", "/actions/runners/register", "runner-register", _register
    for scope in scopes:
        yield "GET", f"{scope}/actions/runner-groups", "runner-groups", _groups


async def _groups(request: web.Request, world: World) -> web.Response:
    from local.github.rest import scope_of

    if callers.is_remote(request):
        callers.remote(request, world, scope_of(request))
    else:
        callers.find_caller(request, world, scope_of(request), write=False)
    found = [
        {"id": number, "name": name, "default": number == 1, "inherited": False}
        for number, name in enumerate(world.settings.runner_groups, 1)
        if _may_use(world, name, request.query.get("visible_to_repository"))
    ]
    return answer({"total_count": len(found), "runner_groups": found})


def _may_use(world: World, group: str, repository: str | None) -> bool:
    """Say whether a repository may use a group; None for any."""
    allowed = world.settings.group_repositories.get(group)
    return repository is None or allowed is None or repository in allowed


async def _register(request: web.Request, world: World) -> web.Response:
    body = await posted(request)
    try:
        scope = Scope.of_url(str(body.get("url", "")))
        modulus, exponent = signatures.of_xml(str(body.get("public_key", "")))
    except (NoScopeError, ValueError):
        raise Refusal(404, "Not Found") from None
    callers.remote(request, world, scope)
    settings, version = world.settings, str(body.get("version", ""))
    if version in settings.deprecated_versions and "register" in settings.deprecated_at:
        text = f"Runner version v{version} is deprecated and cannot receive messages."
        raise Refusal(403, text)
    runner = Runner(
        id=0,
        name=str(body["name"]),
        scope=scope,
        labels=labels(world, body.get("labels") or []),
        ephemeral=bool(body.get("ephemeral")),
        visible_at=world.now() + settings.visible_after,
        modulus=modulus,
        exponent=exponent,
        group_id=int(body.get("group_id") or 1),
        version=version,
        disable_update=bool(body.get("updates_disabled")),
    )
    _add(world, runner, body)
    world.show_later(runner)
    site = origin(request)
    authorization = {
        "authorization_url": f"{site}/oauth/token",
        "server_url": f"{site}/broker/",
        "client_id": runner.client_id,
    }
    return answer({"id": runner.id, "name": runner.name, "authorization": authorization})


def _add(world: World, runner: Runner, body: dict[str, Any]) -> None:
    old = world.runners.get(int(body.get("runner_id") or 0))
    if body.get("replace") and old is not None and old.scope.key == runner.scope.key:
        runner.id = old.id
        try:
            world.runners.remove(old, "replaced")
        except StillBusyError:
            message = f'Bad request - Runner "{old.name}" is still running a job"'
            raise Refusal(422, message) from None
    try:
        world.runners.add(runner)
    except NameTakenError:
        message = f"Already exists - A runner with the name {runner.name} already exists."
        raise Refusal(409, message) from None
