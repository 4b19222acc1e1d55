"""Call the ECS agent's task protection API ($ECS_AGENT_URI): scale-in protection of this task.

Source: AWS, "Amazon ECS task scale-in protection endpoint". The API is rate limited, so a call is
never retried here; the caller decides what to do when it failed.
"""

from __future__ import annotations

from typing import Any

import aiohttp

from sidecar.net.deadlines import describe_failure
from sidecar.net.marked_sockets import connector

CALL = aiohttp.ClientTimeout(total=5.0)
"""Seconds for one call."""


class ProtectionError(Exception):
    """The ECS agent refused the call; the text says why."""


class NoAnswer(ProtectionError):
    """No answer came: the ECS agent may have done it or not."""


async def protect_task(agent_uri: str, minutes: int, *, so_mark: bool = False) -> None:
    """Protect this task for so many minutes from now. Raises ProtectionError.

    `so_mark`: call on the agent's SO_MARK sockets, where network rules redirect all others.
    """
    await _put(agent_uri, {"ProtectionEnabled": True, "ExpiresInMinutes": minutes}, so_mark=so_mark)


async def unprotect_task(agent_uri: str, *, so_mark: bool = False) -> None:
    """End the protection of this task. Raises ProtectionError."""
    await _put(agent_uri, {"ProtectionEnabled": False}, so_mark=so_mark)


async def _put(agent_uri: str, state: dict[str, Any], *, so_mark: bool) -> None:
    url = f"{agent_uri}/task-protection/v1/state"
    try:
        async with (
            aiohttp.ClientSession(
                timeout=CALL, trust_env=False, connector=connector(so_mark=so_mark)
            ) as session,
            session.put(url, json=state, allow_redirects=False) as answer,
        ):
            body = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise NoAnswer(describe_failure(error, CALL)) from error
    if not isinstance(body, dict) or "protection" not in body:
        raise ProtectionError(_reason(body))


def _reason(body: object) -> str:
    """Read why the call was refused: an `error` of the API, or a `failure` of ECS."""
    failed = (body.get("error") or body.get("failure")) if isinstance(body, dict) else None
    words = map(failed.get, ("Code", "Reason", "Message")) if isinstance(failed, dict) else ()
    return ": ".join(str(word) for word in words if word) or "an answer without a protection"
