"""Open connections with the agent's SO_MARK, which the network rules for jobs do not redirect."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp

from sidecar import host


def connector(*, so_mark: bool, **options: Any) -> aiohttp.TCPConnector:
    """Return a connector for aiohttp; with `so_mark`, its sockets have the agent's mark."""
    return aiohttp.TCPConnector(socket_factory=_make_marked_socket if so_mark else None, **options)


def _make_marked_socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    marked = socket.socket(family, kind, protocol)
    host.mark(marked)
    return marked
