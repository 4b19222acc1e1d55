"""Where the proxy listens: at the usual place, or in a folder that the daemon has too."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import structlog

from sidecar import host

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

SOCKET = "docker.sock"
_PREFIX = "runner-"
_LOCK = "lock"


class DefaultSocket:
    """The place where every client looks."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.taken = False
        """Whether the proxy listens there, and not somebody else."""

    def make(self) -> None:
        """Make nothing: the folder is there, or it is not the agent's to make."""

    def remove(self) -> None:
        """Remove the proxy's socket; that it is not there is no error."""
        if self.taken:
            self.socket.unlink(missing_ok=True)


class SharedSocket:
    """This life's own folder in the one that the agent shares with the daemon and other lives.

    It holds a lock for as long as its life goes on, however that ends; so the next life on the
    machine can tell what a killed one has left, and removes it.
    """

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.path = shared / f"{_PREFIX}{secrets.token_hex(6)}"
        self._fresh = self.path.with_name(f".{self.path.name}")
        self.taken = False
        """Whether the proxy listens in it."""
        self._lock: host.Lock | None = None

    @property
    def socket(self) -> Path:
        """Where the proxy listens."""
        return self.path / SOCKET

    def make(self) -> None:
        """Make it, locked before anybody can find it; others may enter. Raises OSError."""
        self._fresh.mkdir(parents=True)
        self._fresh.chmod(0o755)
        self._lock = host.locked(self._fresh / _LOCK)
        self._fresh.rename(self.path)

    def remove(self) -> None:
        """Remove it with all that is in it; that it is not there is no error."""
        for folder in (self._fresh, self.path):
            host.remove_folder(folder)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def sweep(self) -> None:
        """Remove what lives that are over have left, as far as that can be."""
        for folder in self.shared.glob(f"{_PREFIX}*"):
            if folder == self.path:
                continue
            try:
                _sweep(folder)
            except OSError as error:  # another life sweeps as well, say
                why = error.strerror or type(error).__name__
                log.warning("docker.folder_removal_failed", folder=str(folder), reason=why.lower())


def _sweep(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir() or not host.is_own(folder):
        return
    lock = host.locked(folder / _LOCK)
    if lock is None:
        return
    try:
        host.remove_folder(folder)
    finally:
        lock.close()
    log.info("docker.folder_removed", folder=str(folder))
