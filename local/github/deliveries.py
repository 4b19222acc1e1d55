"""The REST calls about webhooks' deliveries: list, look at one, send one again.

They are an App's, which calls as itself, or those of a webhook of an organization or repository.
"""

from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web

from local.github import callers, payloads
from local.github.answers import Handler, Refusal, answer
from local.github.bodies import utc
from local.github.scope import Scope
from local.github.webhooks import Delivery, Hook, describe
from local.github.world import World

SCOPES = ("/repos/{owner}/{repo}", "/orgs/{owner}")
PERMISSIONS = {"repos": "repository_hooks", "orgs": "organization_hooks"}


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give method, path, name and handler of each call, without the API's own prefix."""
    for scope in SCOPES:
        yield "GET", f"{scope}/hooks", "list-hooks", _list_hooks
    yield "GET", "/app/hook/config", "hook-config", _config
    for base in ("/app/hook", *(f"{scope}/hooks/{{hook:\\d+}}" for scope in SCOPES)):
        deliveries = f"{base}/deliveries"
        yield "GET", deliveries, "list-deliveries", _list
        yield "GET", f"{deliveries}/{{id:\\d+}}", "get-delivery", _get
        yield "POST", f"{deliveries}/{{id:\\d+}}/attempts", "redeliver", _redeliver


def _own(request: web.Request, world: World, *, write: bool = False) -> Callable[[Hook], bool]:
    if "hook" not in request.match_info:
        app = callers.app(request, world)
        return lambda hook: hook.app is app
    scope, number = _find_scope(request, world, write=write), int(request.match_info["hook"])
    if not any(each.id == number and _is_at(each, scope) for each in world.hooks):
        raise Refusal(404, "Not Found")
    return lambda hook: hook.id == number


def _find_scope(request: web.Request, world: World, *, write: bool) -> Scope:
    match = request.match_info
    kind = "repos" if "repo" in match else "orgs"
    scope = Scope(kind, match["owner"], match.get("repo", ""))
    callers.find_caller(request, world, scope, write=write, permission=PERMISSIONS[kind])
    return scope


def _is_at(hook: Hook, scope: Scope) -> bool:
    return hook.scope is not None and hook.scope.key == scope.key


async def _list_hooks(request: web.Request, world: World) -> web.Response:
    scope = _find_scope(request, world, write=False)
    base = f"{request.url.origin()}{request.path}"
    found = [each for each in world.hooks if _is_at(each, scope)]
    return answer([_show_hook(each, f"{base}/{each.id}", world.now()) for each in found])


def _show_hook(hook: Hook, url: str, now: float) -> dict[str, Any]:
    """Give the schemas `hook` and `org-hook`."""
    made = utc(now)
    return {
        **describe(hook),
        "config": _show_config(hook),
        "created_at": made,
        "updated_at": made,
        "url": url,
        "test_url": f"{url}/test",
        "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries",
        "last_response": {"code": None, "status": "unused", "message": None},
    }


async def _config(request: web.Request, world: World) -> web.Response:
    """Give the schema `webhook-config` of an App's only webhook; empty where it has none."""
    app = callers.app(request, world)
    hook = next((each for each in world.hooks if each.app is app), None)
    return answer({} if hook is None else _show_config(hook))


def _show_config(hook: Hook) -> dict[str, Any]:
    """Give a webhook's configuration; its secret is never shown, only that there is one."""
    config: dict[str, Any] = dict(describe(hook)["config"])
    return {**config, **({"secret": "********"} if hook.secret else {})}


async def _list(request: web.Request, world: World) -> web.Response:
    """List them, newest first; `cursor` is where the page begins."""
    found = world.hooks.list_kept(_own(request, world))
    wanted = request.query.get("status", "")
    if wanted:
        found = [each for each in found if (each.status == "OK") is (wanted == "success")]
    size = request.query.get("per_page", "30")
    per_page = min(max(int(size) if size.isdecimal() else 30, 1), 100)
    cursor = request.query.get("cursor", "")
    if cursor:
        found = [each for each in found if f"v1_{each.id}" <= cursor]
    page, rest = found[:per_page], found[per_page:]
    response = answer([_item(each) for each in page])
    if rest:
        url = request.url.update_query(cursor=f"v1_{rest[0].id}")
        response.headers["Link"] = f'<{url}>; rel="next"'
    return response


def _found(request: web.Request, world: World, *, write: bool = False) -> Delivery:
    hooks = _own(request, world, write=write)
    found = world.hooks.find(int(request.match_info["id"]), hooks)
    if found is None:
        raise Refusal(404, "Not Found")
    return found


async def _get(request: web.Request, world: World) -> web.Response:
    each = _found(request, world)
    sent = {"headers": each.headers, "payload": each.payload}
    received = {"headers": each.answer_headers, "payload": each.answer}
    return answer({**_item(each), "url": each.hook.url, "request": sent, "response": received})


async def _redeliver(request: web.Request, world: World) -> web.Response:
    world.hooks.redeliver(_found(request, world, write=True))
    return answer({}, 202)


def _item(each: Delivery) -> dict[str, Any]:
    """Give the schema `hook-delivery-item`."""
    repository = each.payload.get("repository")
    return {
        "id": each.id,
        "guid": each.guid,
        "delivered_at": utc(each.at),
        "redelivery": each.redelivery,
        "duration": each.duration,
        "status": each.status,
        "status_code": each.status_code,
        "event": each.event,
        "action": each.action or None,
        "installation_id": each.installation_id,
        "repository_id": payloads.number_of(repository["full_name"]) if repository else None,
        "throttled_at": None,
    }
