"""Send requests to an engine byte by byte, as no ordinary client would."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0
_ANSWER = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.MULTILINE)
_CREATED = re.compile(rb'\{"Id":"([0-9a-f]{64})"')


class Replies(NamedTuple):
    """All responses on one connection."""

    statuses: list[int]
    """The status of each response; empty if there was none."""
    created: list[str]
    """The ids of new containers."""
    text: bytes


def send(path: Path, *parts: bytes) -> Replies:
    """Send each part in a write of its own, then end the data; read all responses."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        received = b""
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            for part in parts:
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while some := client.recv(65536):
                received += some
    statuses = [int(found) for found in _ANSWER.findall(received)]
    return Replies(statuses, [found.decode() for found in _CREATED.findall(received)], received)


def request(method: str, path: str, body: object = None) -> bytes:
    """Return a plain request that closes its connection."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def call(path: Path, method: str, target: str, body: object = None) -> Any:
    """Send a plain request; return the decoded response, or None if it is empty."""
    replies = send(path, request(method, target, body))
    assert replies.statuses, f"{method} {target} was not answered"
    assert replies.statuses[0] < 300, replies.text
    head, _, content = replies.text.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        content = _decode_chunks(content)
    return json.loads(content) if content else None


def _decode_chunks(content: bytes) -> bytes:
    data = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size, 16)
        data += content[:length]
        content = content[length + 2 :]
        if length == 0:
            break
    return data
