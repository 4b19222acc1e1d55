"""Render the proxy's own responses, in the engine's form."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def render_error(status: int, message: str, *, close: bool = False) -> bytes:
    """Render an error as the engine does (api/server/httpstatus): JSON with a message."""
    return render(status, {"message": message}, close=close)


def render(status: int, fields: Mapping[str, object], *, close: bool = False) -> bytes:
    """Render a response of JSON."""
    body = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(("Connection: close",) if close else ()),
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
