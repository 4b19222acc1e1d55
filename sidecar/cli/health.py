"""`runner-sidecar health`: what a container's healthCheck runs, every few seconds, for hours.

So it imports nothing of the agent: one socket, one request, one line of answer.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from sidecar.settings import DEFAULT_HEALTH_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping

DEADLINE = 2.0
"""Seconds for connect and answer together; below the 5 s that ECS allows a check by default."""


def probe(environ: Mapping[str, str], given: str = "") -> int:
    """Ask the agent at `given` or `SIDECAR_HEALTH_ADDRESS` how it is; 0 if well, 1 if not."""
    address = given or environ.get("SIDECAR_HEALTH_ADDRESS", "").strip() or DEFAULT_HEALTH_ADDRESS
    if address == "off":
        return 0
    host, _, port = address.rpartition(":")
    try:
        status = ask(host.strip("[]"), int(port), address)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot reach the agent at {address} (SIDECAR_HEALTH_ADDRESS): {error}\n")
        return 1
    return 0 if status == b"200" else 1


def ask(host: str, port: int, address: str) -> bytes:
    """Return the status of `GET /healthz`, as its three digits."""
    with socket.create_connection((host, port), timeout=DEADLINE) as connection:
        connection.sendall(f"GET /healthz HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        head = b""
        while len(head) < 12 and (received := connection.recv(4096)):
            head += received
    return head[9:12]
