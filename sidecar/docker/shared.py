"""This life's own folder in the one that the agent shares with the daemon, and with other lives.

It holds a lock for as long as its life goes on, however that ends; so the next life on the machine
can tell what a killed one has left, and removes it.
"""

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


class Own:
    """The folder."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.path = shared / f"{_PREFIX}{secrets.token_hex(6)}"
        self._lock: host.Lock | None = None

    @property
    def socket(self) -> Path:
        """Where the proxy listens."""
        return self.path / SOCKET

    def make(self) -> None:
        """Make it, locked before anybody can find it; others may enter. Raises OSError."""
        fresh = self.path.with_name(f".{self.path.name}")
        fresh.mkdir(parents=True)
        fresh.chmod(0o755)
        self._lock = host.locked(fresh / _LOCK)
        fresh.rename(self.path)

    def remove(self) -> None:
        """Remove it with all that is in it; that it is not there is no error."""
        host.remove_folder(self.path)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def sweep(self) -> None:
        """Remove what lives that are over have left."""
        for folder in self.shared.glob(f"{_PREFIX}*"):
            if folder == self.path or folder.is_symlink() or not host.is_own(folder):
                continue
            try:
                lock = host.locked(folder / _LOCK)
            except OSError:
                continue
            if lock is not None:
                host.remove_folder(folder)
                lock.close()
                log.info("docker.swept", folder=str(folder))
