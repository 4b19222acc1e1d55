"""The control plane's calls about webhooks: who is told, and what happens to deliveries."""

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from local.github.answers import Handler, Refusal, answer, posted
from local.github.scope import NoScopeError, Scope
from local.github.webhooks import Delivery, WrongHookError
from local.github.world import World


def routes() -> Iterator[tuple[str, str, str, Handler]]:
    """Give method, path, name and handler of each call."""
    yield "POST", "/hooks", "_hooks", _add
    yield "GET", "/deliveries", "_deliveries", _list
    yield "POST", "/deliveries/disturb", "_deliveries", _disturb
    yield "POST", "/deliveries/release", "_deliveries", _release
    yield "POST", "/deliveries/{id:\\d+}/attempts", "_deliveries", _redeliver


async def _add(request: web.Request, world: World) -> web.Response:
    """Add a webhook of an App (`app_id`), of a `scope`, or of everything."""
    body = await posted(request)
    app = next((each for each in world.apps if each.id == body.get("app_id")), None)
    if "app_id" in body and app is None:
        raise Refusal(404, "no such App")
    try:
        scope = Scope.of_path(str(body["scope"])) if "scope" in body else None
    except NoScopeError as error:
        raise Refusal(400, str(error)) from error
    hook = world.hooks.add(str(body["url"]), str(body.get("secret", "")), app=app, scope=scope)
    return answer({"id": hook.id}, 201)


async def _list(_request: web.Request, world: World) -> web.Response:
    return answer([_show(each) for each in world.hooks.deliveries])


async def _disturb(request: web.Request, world: World) -> web.Response:
    try:
        world.hooks.disturb(**await posted(request))
    except (TypeError, WrongHookError) as error:
        raise Refusal(400, str(error)) from error
    return answer({}, 201)


async def _release(request: web.Request, world: World) -> web.Response:
    body = await posted(request)
    return answer({"released": world.hooks.release(float(body.get("seconds", 0)))})


async def _redeliver(request: web.Request, world: World) -> web.Response:
    number = int(request.match_info["id"])
    found = next((each for each in world.hooks.deliveries if each.id == number), None)
    if found is None:
        raise Refusal(404, "no such delivery")
    return answer(_show(world.hooks.redeliver(found)), 202)


def _show(each: Delivery) -> dict[str, Any]:
    return {
        "id": each.id,
        "guid": each.guid,
        "event": each.event,
        "action": each.action,
        "job": each.payload.get("workflow_job", {}).get("id"),
        "redelivery": each.redelivery,
        "status": each.status,
        "status_code": each.status_code,
        "answer": each.answer,
    }
