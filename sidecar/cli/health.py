"""`runner-sidecar health`: ask the agent of this container whether it is healthy.

A container's healthCheck runs it every few seconds, so it imports nothing of the agent but
constants: one socket, one request, one answer.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from sidecar.defaults import HEALTH_ADDRESS
from sidecar.settings import DEFAULT_RUNNER_DIRS, HEALTH_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HELP = f"""\
usage: runner-sidecar health [HOST:PORT]

Ask the agent of this container for GET /healthz. Exit 0 if it answers 200, else 1.
Without HOST:PORT it is asked at SIDECAR_HEALTH_ADDRESS, by default {HEALTH_ADDRESS},
or at the port that it took because that one was another program's; with SIDECAR_HEALTH_ADDRESS=off
nothing is asked, and the exit code is 0.
"""

DEADLINE = 2.0
"""Seconds for connect and answer together; below the 5 s that ECS allows a check by default."""

LONGEST = 64
"""Characters of an address."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the help, or check the agent's health; return the exit code."""
    if list(arguments[:1]) in (["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    return check_health(environ, *arguments[:1])


def check_health(environ: Mapping[str, str], given: str = "") -> int:
    """Ask the agent at `given` or SIDECAR_HEALTH_ADDRESS; return 0 if it is healthy, 1 if not."""
    address = given or _read(environ, "SIDECAR_HEALTH_ADDRESS") or HEALTH_ADDRESS
    if address == "off":
        return 0
    if not given:
        address = read_moved(environ) or address
    host, _, port = address.rpartition(":")
    try:
        status = request_status(host.strip("[]"), int(port), address)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot reach the agent at {address} (SIDECAR_HEALTH_ADDRESS): {error}\n")
        return 1
    return 0 if status == b"200" else 1


def read_moved(environ: Mapping[str, str]) -> str:
    """Read at which other address the agent answers; "" if it is the one of the settings."""
    given = _read(environ, "SIDECAR_RUNNER_DIR")
    for folder in (given,) if given else DEFAULT_RUNNER_DIRS:
        try:
            with open(os.path.join(folder, HEALTH_FILE), encoding="ascii") as file:  # noqa: PTH118, PTH123  no pathlib: it is light
                return file.read(LONGEST).strip()
        except (OSError, ValueError):
            continue
    return ""


def _read(environ: Mapping[str, str], name: str) -> str:
    """Return a variable without the quotes that an env file keeps, as the agent reads it."""
    return environ.get(name, "").strip().strip("\"'")


def request_status(host: str, port: int, address: str) -> bytes:
    """Return the status of `GET /healthz`, as its three digits. Raises OSError."""
    with socket.create_connection((host, port), timeout=DEADLINE) as connection:
        connection.sendall(f"GET /healthz HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        head = b""
        while len(head) < 12 and (received := connection.recv(4096)):
            head += received
    return head[9:12]
