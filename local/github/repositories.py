"""The REST calls about repositories: one, and those that an installation's token reaches."""

from collections.abc import Iterator

from aiohttp import web

from local.github import callers, payloads
from local.github.answers import Handler, Refusal, answer
from local.github.callers import NOT_ACCESSIBLE
from local.github.scope import Scope
from local.github.tokens import Token
from local.github.world import World

RANKS = ("pull", "triage", "push", "maintain", "admin")


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give method, path, name and handler of each call, without the API's own prefix."""
    yield "GET", "/repos/{owner}/{repo}", "get-repository", _get_repository
    yield "GET", "/installation/repositories", "list-repositories", _list_repositories


async def _get_repository(request: web.Request, world: World) -> web.Response:
    name = f"{request.match_info['owner']}/{request.match_info['repo']}"
    scope = Scope.of_path(f"/repos/{name}")
    token = callers.find_caller(request, world, scope, write=False, permission="metadata")
    return answer(_describe(name, token))


async def _list_repositories(request: web.Request, world: World) -> web.Response:
    callers.count_request(request, world)
    token = world.tokens.valid(callers.bearer(request), world.now(), "pat", "installation")
    if token is None:
        raise Refusal(401, "Bad credentials")
    if token.kind != "installation":
        raise Refusal(403, "You must authenticate with an installation access token")
    found = [
        f"{each.account}/{name}"
        for app in world.apps
        for each in app.installations
        if each.id == token.installation_id
        for name in each.repositories
    ]
    if not found:
        raise Refusal(403, NOT_ACCESSIBLE)
    size, page = (int(request.query.get(key, one)) for key, one in (("per_page", 30), ("page", 1)))
    shown = [_describe(name, token) for name in found[(page - 1) * size : page * size]]
    return answer({"total_count": len(found), "repositories": shown})


def _describe(name: str, token: Token) -> dict[str, object]:
    """Describe a repository with what the token may do there."""
    if token.kind == "installation":
        has = {"read": "pull", "write": "push"}.get(token.permissions.get("contents", ""), "")
    else:
        has = {"read": "pull", "write": "admin"}.get(token.permission, "")
    rank = RANKS.index(has) if has else -1
    permissions = {each: number <= rank for number, each in enumerate(RANKS)}
    return {**payloads.repository(name), "permissions": permissions}
