"""Check before a job comes that the docker daemon sees the folders that its containers mount."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from sidecar.docker.engine_view import find_existing, wait_until_seen

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.docker.engine import Engine

log = structlog.get_logger()

STARTING = 5.0
"""Seconds to wait for a daemon that does not answer yet."""
UNSEEN = (
    "what a container mounts from there is empty: the daemon's machine has another folder there"
)


async def is_shared(engine: Engine, folder: Path) -> bool:
    """Return whether the daemon may see a folder. Raises OSError if the agent cannot write there.

    A daemon that does not tell, or does not answer for some seconds, counts as one that does.
    """
    try:
        async with asyncio.timeout(STARTING):
            return await wait_until_seen(engine, folder) is not False
    except TimeoutError:
        return True


async def warn_if_unseen(engine: Engine, folder: Path, setting: str) -> None:
    """Warn if the daemon does not see a folder, as soon as it answers."""
    try:
        existing = await asyncio.to_thread(find_existing, folder)
        if await wait_until_seen(engine, existing) is False:
            log.warning("docker.folder_unseen", folder=str(folder), reason=f"{UNSEEN} ({setting})")
    except OSError as error:
        log.debug("docker.folder_unchecked", folder=str(folder), reason=error.strerror)
