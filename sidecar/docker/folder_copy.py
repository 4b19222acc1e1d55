"""A folder of the agent's that containers mount, where the daemon cannot see it: a copy.

The runner mounts its `externals` (node, for actions that are JavaScript) into every job container.
The copy is made when it is first asked for, once for each version, and stays for whoever runs on
this machine next.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import posixpath
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger()


class FolderCopy:
    """The copy of one folder."""

    def __init__(self, source: Path, shared: Path, own: Path) -> None:
        """Copy `source` into `shared`, by way of `own`, which is this life's alone."""
        self._source = source
        self._shared = shared
        self._own = own
        self._making: asyncio.Task[Path] | None = None

    async def turned(self, source: str) -> str | None:
        """Return what to mount in place of `source`; None: it is not of this folder.

        Raises OSError.
        """
        path = Path(posixpath.normpath(source))
        if not path.is_relative_to(self._source):
            return None
        failed = self._making is not None and self._making.done() and self._making.exception()
        if self._making is None or failed:
            self._making = asyncio.create_task(asyncio.to_thread(self._made))
        copy = await asyncio.shield(self._making)
        return str(copy / path.relative_to(self._source))

    def _made(self) -> Path:
        copy = self._shared / f"{self._source.name}-{_version(self._source)}"
        if not copy.exists():
            log.info("docker.copy_started", source=str(self._source), copy=str(copy))
            fresh = self._own / self._source.name
            host.remove_folder(fresh)
            shutil.copytree(self._source, fresh, symlinks=True)
            try:
                fresh.rename(copy)
            except OSError:  # another life was faster
                if not copy.is_dir():
                    raise
                host.remove_folder(fresh)
        if copy.is_symlink() or not host.is_own(copy):
            raise PermissionError(0, f"{copy} is not the agent's", str(copy))
        return copy


def _version(folder: Path) -> str:
    """Name what is in a folder: by names, sizes and times of all files."""
    told = hashlib.blake2b(digest_size=8)
    for line in _lines(folder):
        told.update(line.encode("utf-8", "surrogateescape"))
    return told.hexdigest()


def _lines(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted((*folders, *names)):
            path = Path(here, name)
            status = path.lstat()
            size = f"{status.st_size} {int(status.st_mtime)}" if name in names else ""
            yield f"{path.relative_to(folder)} {status.st_mode:o} {size}\n"
