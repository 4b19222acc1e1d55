"""Check the users: the agent's own, and the one that jobs run as."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar import host
from sidecar.examination.finding import Finding, ok, warning

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup

OF_ROOT = {"root", "sudo", "wheel", "admin", "docker"}
"""Groups whose members can become root, mostly."""


async def check(setup: Setup) -> list[Finding]:
    """Compare the agent's user with the jobs'."""
    return await asyncio.to_thread(_check, setup.config.user)


def _check(user: host.User | None) -> list[Finding]:
    own = host.agent_user_name()
    if user is None:
        text = f"the agent and its jobs are one user, {own}: jobs can look into the runner"
        return [warning(text, "start the agent as root, and jobs as SIDECAR_RUNNER_USER (Linux)")]
    found = []
    if groups := sorted(OF_ROOT.intersection(host.list_groups(user))):
        text = f"jobs run as {user.name}, which is in the group {' and '.join(groups)}"
        found.append(warning(text, "take it out of the group, if jobs must not become root"))
    if not Path(user.home).is_dir():
        text = f"{user.name} has no home: there is no folder {user.home}"
        found.append(warning(text, f"make it (useradd --create-home {user.name})"))
    if host.are_programs_exposed():
        text = "fs.suid_dumpable is 1 on this machine: jobs can look into the runner"
        found.append(warning(text, "set fs.suid_dumpable to 0 or 2"))
    return found or [ok(f"the agent is {own}, jobs run as {user.name}")]
