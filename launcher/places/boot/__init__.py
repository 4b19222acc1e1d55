"""Write the user data of a pool's machines: the text that they run when they start.

It is the same for every machine of a pool and holds no secret: whatever runs on a machine can read
it. What differs for each machine is in its tags and in its token parameter.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

LONGEST = 16_384
"""Bytes of user data, before they are encoded."""
IMAGE, DOCKER, WHEEL = "image", "docker", "wheel"
IDLE_TAG = "runner-launcher:idle-limit"
"""The tag of a machine that waits for a job longer, or less long, than its pool says."""
LINUX, WINDOWS = "linux", "windows"
_FOLDER = Path(__file__).parent


class TooLong(ValueError):
    """User data that EC2 does not take."""


@dataclass(frozen=True, slots=True)
class AgentSource:
    """Where a machine has its agent from."""

    kind: str = IMAGE
    """IMAGE: it is in the machine's image. DOCKER: a runner image. WHEEL: a list for pip."""
    source: str = ""
    """The runner image, or the list's address (https or s3)."""
    sha256: str = ""
    """Of the list, which has a hash for each thing in it."""


@dataclass(frozen=True, slots=True)
class Boot:
    """All that the machines of a pool are told when they start."""

    system: str
    agent: AgentSource
    parameter_prefix: str
    limit: int
    """Seconds after which a machine ends whatever happens; longer than the agent's own limit."""
    environment: tuple[tuple[str, str], ...] = ()
    """Variables of the agent; no secret."""


def write_user_data(boot: Boot) -> str:
    """Write the user data. Raises TooLong."""
    text = _write_windows(boot) if boot.system == WINDOWS else _write_linux(boot)
    return check_size(text)


def check_size(text: str) -> str:
    """Return user data that EC2 takes. Raises TooLong."""
    size = len(text.encode())
    if size > LONGEST:
        raise TooLong(f"user data of {size} bytes are too long: EC2 takes {LONGEST}")
    return text


def _write_linux(boot: Boot) -> str:
    values = {
        "AGENT": boot.agent.kind,
        "AGENT_SOURCE": boot.agent.source,
        "AGENT_SHA256": boot.agent.sha256,
        "LIMIT": str(boot.limit),
        "PARAMETER_PREFIX": boot.parameter_prefix,
    }
    lines = ["#!/bin/sh", *(f"{key}={shlex.quote(value)}" for key, value in values.items())]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in boot.environment]
    return "\n".join([*lines, (_FOLDER / "linux.sh").read_text("ascii")])


def _write_windows(boot: Boot) -> str:
    values = {
        "Agent": boot.agent.kind,
        "AgentSource": boot.agent.source,
        "AgentSha256": boot.agent.sha256,
        "ParameterPrefix": boot.parameter_prefix,
    }
    lines = [f"${key} = {_quote(value)}" for key, value in values.items()]
    pairs = "; ".join(f"{_quote(name)} = {_quote(value)}" for name, value in boot.environment)
    lines += [f"$Limit = {boot.limit}", f"$Environment = @{{ {pairs} }}"]
    script = (_FOLDER / "windows.ps1").read_text("ascii")
    return "\n".join(["<powershell>", *lines, script.rstrip(), "</powershell>", ""])


def _quote(text: str) -> str:
    """Quote a text for PowerShell, which knows typographic quotes too."""
    for mark in "'\u2018\u2019\u201a\u201b":
        text = text.replace(mark, mark * 2)
    return f"'{text}'"
