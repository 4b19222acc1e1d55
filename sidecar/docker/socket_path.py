"""The place of the proxy's socket: the default path, or a folder that the engine can see too."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from sidecar import host

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

SOCKET_NAME = "docker.sock"
_PREFIX = "runner-"
_LOCK = "lock"


class DefaultSocket:
    """A socket at the default path, where every docker client looks."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.in_use = False
        """Whether the proxy listens there, and no other process."""

    def make(self) -> None:
        """Do nothing: the folder exists, or the agent may not make it."""

    def remove(self) -> None:
        """Remove the proxy's socket; it is no error if there is none."""
        if self.in_use:
            self.socket.unlink(missing_ok=True)


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
        self._hidden_path.mkdir(parents=True)
        self._hidden_path.chmod(0o755)
        self._lock = host.lock_file(self._hidden_path / _LOCK)
        self._hidden_path.rename(self.path)

    def remove(self) -> None:
        """Remove the folder and all that is in it; it is no error if there is none."""
        for folder in (self._hidden_path, self.path):
            host.remove_folder(folder)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def remove_leftovers(self) -> None:
        """Remove the folders of killed agents; a failure is logged."""
        for folder in self.shared.glob(f"{_PREFIX}*"):
            if folder == self.path:
                continue
            try:
                _remove_if_unlocked(folder)
            except OSError as error:  # another agent may be removing it too
                reason = error.strerror or type(error).__name__
                log.warning(
                    "docker.folder_removal_failed", folder=str(folder), reason=reason.lower()
                )


def _remove_if_unlocked(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir() or not host.is_own(folder):
        return
    lock = host.lock_file(folder / _LOCK)
    if lock is None:
        return
    try:
        host.remove_folder(folder)
    finally:
        lock.close()
    log.info("docker.folder_removed", folder=str(folder))
