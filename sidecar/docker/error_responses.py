"""Render the proxy's own responses, in the engine's form of an error."""

from __future__ import annotations

import json
from http import HTTPStatus

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def render_error(status: int, message: str, *, close: bool = False) -> bytes:
    """Render an error as the engine does (api/server/httpstatus): JSON with a message."""
    body = json.dumps({"message": message}, separators=(",", ":")).encode() + b"\n"
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(("Connection: close",) if close else ()),
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
