# ruff: noqa: INP001  the first program of an image, and no module
"""The first program of a Windows container: becomes the agent, in this very process.

    (nothing), --option …   the agent lives one life: runner-sidecar run
    runner-sidecar …        the agent's own command line
    COMMAND …               a command that the agent supervises; nothing is registered for it

    ENTRYPOINT_CREDENTIALS_ROUTE  true: lead 169.254.170.2 to the instance first, which ECS does for
                                  tasks with network mode awsvpc only (false)

There is no docker daemon inside a Windows container: ENTRYPOINT_DOCKERD may only be false.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

WRONG_SETTING = 11
"""`Exit.SETTINGS` of the agent, whose module is not worth importing here."""
NO_DAEMON = 24
"""`Exit.DOCKER` of the agent."""
CREDENTIALS = "169.254.170.2"
"""The address at which the ECS agent has a task's credentials."""
TIMEOUT = 10.0
"""Seconds that the system may take to add a route."""


def choose_command(words: list[str]) -> list[str]:
    """Return the agent's command line for the container's arguments."""
    if words and words[0] in ("runner-sidecar", "runner-sidecar.exe"):
        return words[1:]
    if not words or words[0].startswith("-"):
        return ["run", *words]
    return ["run", "--", *words]


def take_flag(environ: MutableMapping[str, str], name: str) -> bool | None:
    """Remove a variable, and return its meaning; None if it has none. It is false if not set."""
    return {"true": True, "false": False}.get(environ.pop(name, "false"))


def check_settings(environ: MutableMapping[str, str]) -> bool:
    """Remove this program's own variables; return whether to add a route. Raises SystemExit."""
    dockerd = environ.get("ENTRYPOINT_DOCKERD", "false")
    if take_flag(environ, "ENTRYPOINT_DOCKERD") is not False:
        fail(
            f"cannot start the docker daemon: ENTRYPOINT_DOCKERD={dockerd}, "
            "and a Windows image has none",
            NO_DAEMON,
        )
    given = environ.get("ENTRYPOINT_CREDENTIALS_ROUTE", "false")
    wanted = take_flag(environ, "ENTRYPOINT_CREDENTIALS_ROUTE")
    if wanted is None:
        fail(f"ENTRYPOINT_CREDENTIALS_ROUTE={given} is neither true nor false", WRONG_SETTING)
    return bool(wanted)


def fail(text: str, code: int) -> None:
    """Say why, and end."""
    sys.stderr.write(f"{text}\n")
    sys.exit(code)


def find_gateway() -> tuple[str, bool]:
    """Return the next hop towards the credentials, and whether a route leads to them alone."""
    import ctypes
    import socket
    import struct

    row = (ctypes.c_uint32 * 14)()  # MIB_IPFORWARDROW: destination, mask, policy, next hop, …
    address = struct.unpack("<I", socket.inet_aton(CREDENTIALS))[0]
    code = ctypes.windll.iphlpapi.GetBestRoute(address, 0, row)  # type: ignore[attr-defined]
    if code:
        raise OSError(f"no route leads anywhere (error {code})")
    return socket.inet_ntoa(struct.pack("<I", row[3])), row[1] == 0xFFFFFFFF


def add_route() -> None:
    """Lead the credentials' address to the gateway, unless a route leads there. Raises OSError."""
    import subprocess

    gateway, done = find_gateway()
    if done:
        return
    command = ["route", "add", CREDENTIALS, "mask", "255.255.255.255", gateway]
    try:
        ended = subprocess.run(
            command, capture_output=True, check=False, timeout=TIMEOUT, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"route did not end within {TIMEOUT:g} s") from error
    if not find_gateway()[1]:  # its exit code does not tell
        said = (ended.stdout + ended.stderr).decode(errors="replace").strip()
        raise OSError(said or f"route ended with code {ended.returncode}")


def main() -> None:
    """Become the agent."""
    command = choose_command(sys.argv[1:])
    if check_settings(os.environ) and command[:1] == ["run"]:
        try:
            add_route()
        except OSError as error:  # the agent can say better what it could not get
            sys.stderr.write(f"cannot add a route to {CREDENTIALS}: {error}\n")
    sys.argv[1:] = command
    runpy.run_module("sidecar", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
