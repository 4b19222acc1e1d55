"""The place of the proxy's socket: the default path, or a folder that the engine can see too."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.docker.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    RemoveObjects = Callable[[Path], Awaitable[None]]
    """Removes from the engine what the record at a path names. Raises EngineError."""

log = structlog.get_logger()

SOCKET_NAME = "docker.sock"
_PREFIX = "runner-"
PRIVATE_NAMES = (_PREFIX, f".{_PREFIX}")
"""The beginnings of the names of the agents' own folders, in the folder that they share."""
_LOCK = "lock"
_RECORD = "created"


class DefaultSocket:
    """A socket at the default path, where every docker client looks."""

    def __init__(self, socket: Path, record: Path) -> None:
        """Prepare for a socket at `socket`; `record` is where what jobs created is recorded."""
        self.socket = socket
        self.record = record
        self.in_use = False
        """Whether the proxy listens there, and no other process."""

    def make(self) -> None:
        """Do nothing: the folder exists, or the agent may not make it."""

    def remove(self) -> None:
        """Remove the proxy's socket; it is no error if there is none."""
        if self.in_use:
            self.socket.unlink(missing_ok=True)

    async def remove_leftovers(self, remove_objects: RemoveObjects) -> None:
        """Remove from the engine what the job of a killed agent created; a failure is logged."""
        try:
            await remove_objects(self.record)
        except EngineError as error:
            log.warning("docker.leftovers_failed", record=str(self.record), reason=str(error))


class SharedSocket:
    """A socket in this agent's own folder, within the folder that agents and engine share.

    The folder holds a lock, which the system releases when the agent's process ends. So a later
    agent on the machine can tell which folders belong to killed agents, and removes them.
    """

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.path = shared / f"{_PREFIX}{secrets.token_hex(6)}"
        self._hidden_path = self.path.with_name(f".{self.path.name}")
        self.in_use = False
        """Whether the proxy listens in the folder."""
        self._lock: host.FileLock | None = None

    @property
    def socket(self) -> Path:
        """The path of the socket."""
        return self.path / SOCKET_NAME

    def make(self) -> None:
        """Make the folder; other users may enter it. Raises OSError.

        It gets its name only when it is locked, so that no other agent removes it meanwhile.
        """
        host.make_folder(self.shared, None)
        host.make_private_folder(self._hidden_path)
        self._lock = host.lock_file(self._hidden_path / _LOCK)
        host.replace_file(self._hidden_path, self.path.name)

    def remove(self) -> None:
        """Remove the folder and all that is in it; it is no error if there is none.

        A record in it names what the engine did not remove: it stays, for a later agent.
        """
        host.remove_folder(self._hidden_path)
        if self.record.exists():
            _remove_all_but(self.record)
        else:
            host.remove_folder(self.path)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def record(self) -> Path:
        """The path of the record of what the job created."""
        return self.path / _RECORD

    async def remove_leftovers(self, remove_objects: RemoveObjects) -> None:
        """Remove what killed agents left: what their jobs created, then their folders.

        A failure is logged, and left to a later agent.
        """
        for folder in await asyncio.to_thread(list, self.shared.glob(f"{_PREFIX}*")):
            if folder == self.path:
                continue
            try:
                await _remove_if_unlocked(folder, remove_objects)
            except EngineError as error:
                log.warning("docker.leftovers_failed", record=str(folder), reason=str(error))
            except OSError as error:  # another agent may be removing it too
                reason = error.strerror or type(error).__name__
                log.warning(
                    "docker.folder_removal_failed", folder=str(folder), reason=reason.lower()
                )


def _remove_all_but(kept: Path) -> None:
    for entry in kept.parent.iterdir():
        if entry not in (kept, kept.with_name(_LOCK)):
            host.remove_entry(entry)


def _lock_if_left(folder: Path) -> host.FileLock | None:
    if folder.is_symlink() or not folder.is_dir() or not host.is_own(folder):
        return None
    return host.lock_file(folder / _LOCK)


async def _remove_if_unlocked(folder: Path, remove_objects: RemoveObjects) -> None:
    lock = await asyncio.to_thread(_lock_if_left, folder)
    if lock is None:
        return
    try:
        await remove_objects(folder / _RECORD)
        await asyncio.to_thread(host.remove_folder, folder)
    finally:
        lock.close()
    log.info("docker.folder_removed", folder=str(folder))
