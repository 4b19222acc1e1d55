"""Write the answers that the ECS agent gives."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from local.ecs_agent.modes import RATE


def answer_json(status: int, document: Any) -> web.Response:
    """Answer with a document."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return web.Response(status=status, body=body, content_type="application/json")


def refuse_credentials(version: int, status: int, code: str, text: str) -> web.Response:
    """Refuse credentials in the words of the agent."""
    message = f"CredentialsV{version}Request: {text}" if text else "Internal server error"
    return answer_json(status, {"code": code, "message": message, "HTTPErrorCode": status})


def throttle(peer: str) -> web.Response:
    """Refuse a client that asks too often."""
    return web.Response(
        status=429,
        text="You have reached maximum request limit.",
        headers={
            "X-Rate-Limit-Limit": f"{RATE:.2f}",
            "X-Rate-Limit-Duration": "1",
            "X-Rate-Limit-Request-Forwarded-For": "",
            "X-Rate-Limit-Request-Remote-Addr": peer,
        },
    )


def refuse_protection(
    status: int, code: str, message: str, *, arn: str = "", request_id: str = ""
) -> web.Response:
    """Refuse a request for scale-in protection."""
    error = {"Code": code, "Message": message}
    document: dict[str, Any] = {"requestID": request_id} if request_id else {}
    document["error"] = {"Arn": arn, **error} if arn else error
    return answer_json(status, document)


def read_protection_request(body: bytes) -> dict[str, Any]:
    """Decode as strictly as the agent: no unknown field, no other type."""
    wanted = json.loads(body)
    if not isinstance(wanted, dict) or wanted.keys() - {"ProtectionEnabled", "ExpiresInMinutes"}:
        raise ValueError("unknown fields")
    enabled, minutes = wanted.get("ProtectionEnabled"), wanted.get("ExpiresInMinutes")
    wrong = isinstance(minutes, bool) or not isinstance(minutes, int | None)
    if wrong or not isinstance(enabled, bool | None):
        raise ValueError("wrong types")
    return wanted


def moment(seconds: float) -> str:
    """Write a time as AWS does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def wait_for_ever() -> None:
    """Answer nothing, until the connection ends."""
    # Ends when the connection does: aiohttp then cancels the handler.
    await asyncio.Event().wait()
