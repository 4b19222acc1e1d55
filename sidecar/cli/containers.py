"""`runner-sidecar containers`: list the job's containers, with the rule and the role of each."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING, Any

from sidecar.cli.health import DEADLINE, read_moved
from sidecar.defaults import HEALTH_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HELP = f"""\
usage: runner-sidecar containers [HOST:PORT]

List the containers that the job created, with the rule and the role of each, as the agent of this
container knows them. The agent is asked at SIDECAR_HEALTH_ADDRESS, by default
{HEALTH_ADDRESS}, or at the port that it took because that one was another program's.
No secret is shown. Exit 1 if the agent does not answer.
"""
LONGEST = 1 << 22
"""Bytes of an answer."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print the help, or the list; return the exit code."""
    if list(arguments[:1]) in (["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    given = environ.get("SIDECAR_HEALTH_ADDRESS", "").strip().strip("\"'")
    address = next(iter(arguments), "") or read_moved(environ) or given or HEALTH_ADDRESS
    try:
        found = _ask(address)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot ask the agent at {address} (SIDECAR_HEALTH_ADDRESS): {error}\n")
        return 1
    print("\n".join(_describe(found)))
    return 0


def _ask(address: str) -> dict[str, Any]:
    """Ask the agent. Raises OSError or ValueError."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=DEADLINE) as connection:
        connection.sendall(f"GET /containers HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = b""
        while len(answer) < LONGEST and (received := connection.recv(65536)):
            answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    if head[9:12] != b"200":
        raise ValueError(f"it answers {head[9:12].decode(errors='replace') or 'nothing'}")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError("it answers no list of containers")  # noqa: TRY004  it is a wrong answer
    return found


def _describe(found: dict[str, Any]) -> list[str]:
    """Return the lines of the list."""
    lines = [f"job: {found.get('job') or 'not known'}, by {found.get('rule') or 'no rule'}"]
    for one in found.get("containers") or ():
        state = "" if one.get("running") else " (stopped)"
        role = one.get("role") or "no credentials"
        where = ", ".join(one.get("addresses") or ()) or "address not known"
        rule = one.get("rule") or "no rule"
        lines.append(f"{str(one.get('container'))[:12]}{state}  {role}  by {rule}  {where}")
    return lines
