"""Let a test set how the agent behaves, and see what it was asked, over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.ecs_agent.answers import answer_json
from local.ecs_agent.modes import CREDENTIALS, PROTECTION, Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from local.ecs_agent.agent import Agent


async def _set_credentials(agent: Agent, request: web.BaseRequest) -> web.Response:
    wanted = await request.json()
    agent.lifetime = float(wanted.get("lifetime", agent.lifetime))
    if "lifetime" in wanted:
        await agent.rotate()
    return _mode(agent.credentials, CREDENTIALS, wanted)


async def _set_protection(agent: Agent, request: web.BaseRequest) -> web.Response:
    return _mode(agent.protection, PROTECTION, await request.json())


def _mode(mode: Mode, names: tuple[str, ...], wanted: dict[str, Any]) -> web.Response:
    name = wanted.get("mode", "ready")
    if name not in names:
        return web.Response(status=400, text=f"mode is one of {', '.join(names)}\n")
    mode.name, mode.times = name, wanted.get("times")
    return web.Response(status=204)


async def _get_protection(agent: Agent, _request: web.BaseRequest) -> web.Response:
    return answer_json(200, agent.protection_now())


async def _get_environment(agent: Agent, _request: web.BaseRequest) -> web.Response:
    return answer_json(200, agent.environment)


async def _get_requests(agent: Agent, _request: web.BaseRequest) -> web.Response:
    return answer_json(200, [asdict(seen) for seen in agent.requests])


CONTROL: dict[tuple[str, str], Callable[[Agent, web.BaseRequest], Awaitable[web.Response]]] = {
    ("PUT", "/_local/credentials"): _set_credentials,
    ("PUT", "/_local/protection"): _set_protection,
    ("GET", "/_local/protection"): _get_protection,
    ("GET", "/_local/environment"): _get_environment,
    ("GET", "/_local/requests"): _get_requests,
}
