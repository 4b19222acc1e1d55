"""Make sure that the runner's user has no process but those that this agent starts.

Then all of them can be killed by that user's id: no process of a job escapes that, however fast it
forks. A life begins with it, because processes of an earlier job may wait for this life's token.
"""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.process import user_kill
from sidecar.runner.state_file import Beginning

if TYPE_CHECKING:
    from sidecar.runner.state_file import StateFile

log = structlog.get_logger()

LEFTOVER_TIMEOUT = 5.0
"""Seconds within which killed processes must have ended."""
KILLER_TIMEOUT = 1.0
"""Seconds for the end of a killed agent's own killer, which ends by itself."""
PAUSE = 0.02


async def own_user(user: host.User | None, state_file: StateFile | None = None) -> None:
    """Kill what a killed agent left of this user, and let this life kill by that user's id.

    Where some of those processes may be somebody else's, nothing is killed here, and at the end
    only what a list of processes shows. An event says why.
    """
    try:
        reason = await _own_user(user, state_file)
    except OSError as error:
        reason = f"/proc cannot be read: {error.strerror or error}"
    if reason:
        log.info("process.kill_limited", reason=reason)


async def _own_user(user: host.User | None, state_file: StateFile | None) -> str | None:
    """Do that; return why it cannot be done, or None."""
    reason = _explain_obstacle(user)
    if reason is not None or user is None or user_kill.killer is None:
        return reason
    if await _find_other_agents(user_kill.killer):
        return "another agent lives in this pid namespace"
    uid, space = host.read_user_id(user), host.describe_process_space()
    found = host.list_user_processes(uid)
    if found and min(found.values()) < _read_beginning(state_file, space):
        return f"{user.name} had processes before the agent began, and others may need them"
    if not await user_kill.begin(uid):
        return "the process that kills does not answer"
    if found:
        await _kill_leftovers(uid, len(found))
    if state_file is not None:
        state_file.set_beginning(Beginning(space, host.read_start(os.getpid())))
    return None


def _explain_obstacle(user: host.User | None) -> str | None:
    shared = host.explain_shared_space()
    if shared is not None:
        return shared
    if user is None or host.read_user_id(user) == 0:
        return "jobs have the agent's own user"
    return None if user_kill.killer else "there was no room for the process that kills"


async def _find_other_agents(own: host.Killer) -> bool:
    """Return whether other agents live; then theirs kill nothing any more either."""
    others = await _wait_for_other_killers(own)
    for pid in others:
        host.disable_killer(pid)
    return bool(others)


def _read_beginning(state_file: StateFile | None, space: str) -> float:
    """Return when the last agent's life began, if it was killed here; else infinity.

    Its runner's user was that agent's own: whatever has come later is its doing, or its jobs'.
    """
    runners = state_file.read() if state_file is not None else []
    began = runners[0].began if runners else None
    return began.start if began is not None and began.space == space else math.inf


async def _wait_for_other_killers(own: host.Killer) -> list[int]:
    """Return those of other agents that live; a killed agent's ends after its last kill."""
    end = asyncio.get_running_loop().time() + KILLER_TIMEOUT
    while found := host.list_other_killers(own):
        if asyncio.get_running_loop().time() > end:
            break
        await asyncio.sleep(PAUSE)
    return found


async def _kill_leftovers(uid: int, count: int) -> None:
    await user_kill.kill()
    end = asyncio.get_running_loop().time() + LEFTOVER_TIMEOUT
    while left := host.list_user_processes(uid):
        if asyncio.get_running_loop().time() > end:
            break
        await asyncio.sleep(PAUSE)
    log.warning("process.leftovers_killed", processes=count, left=len(left))
