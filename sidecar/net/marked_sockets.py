"""Connections that bear the agent's mark, so that rules for jobs do not catch them."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp

from sidecar import host


def connector(*, so_mark: bool, **options: Any) -> aiohttp.TCPConnector:
    """Make a connector; its sockets are the agent's own by their mark if `marked`."""
    return aiohttp.TCPConnector(socket_factory=_socket if so_mark else None, **options)


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    host.mark(made)
    return made
