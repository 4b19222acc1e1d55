"""Requests to an engine, written byte by byte; as no well-meaning client would."""

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


class Said(NamedTuple):
    """All that came back on one connection."""

    statuses: list[int]
    """Of every answer, in turn; empty if it was closed without one."""
    created: list[str]
    """The ids of containers that were made."""
    text: bytes


def spoken(path: Path, *parts: bytes) -> Said:
    """Say `parts`, each in a write of its own, then nothing more; hear all until the end."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        heard = b""
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was said
            for part in parts:
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while some := client.recv(65536):
                heard += some
    statuses = [int(found) for found in _ANSWER.findall(heard)]
    return Said(statuses, [found.decode() for found in _CREATED.findall(heard)], heard)


def request(method: str, path: str, body: object = None) -> bytes:
    """Write a plain request, after which the connection is closed."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def told(path: Path, method: str, target: str, body: object = None) -> Any:
    """Return what a plain request is answered, decoded; None if with nothing."""
    said = spoken(path, request(method, target, body))
    assert said.statuses, f"{method} {target} was not answered"
    assert said.statuses[0] < 300, said.text
    head, _, content = said.text.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        content = _unchunked(content)
    return json.loads(content) if content else None


def _unchunked(content: bytes) -> bytes:
    data = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        length = int(size, 16)
        data += content[:length]
        content = content[length + 2 :]
        if length == 0:
            break
    return data
