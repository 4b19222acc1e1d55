"""Copy a folder of the agent's to a place that the engine can mount.

The runner mounts its `externals` (node, for actions written in JavaScript) into every job
container. The copy is made when a container first mounts the folder, once for each version. It
stays for later runners on this machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import posixpath
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger()


class FolderCopy:
    """The copy of one folder."""

    def __init__(self, source: Path, shared: Path, own_folder: Path) -> None:
        """Prepare to copy `source` into `shared`; `own_folder` is for a copy in progress."""
        self._source = source
        self._shared = shared
        self._own_folder = own_folder
        self._copying: asyncio.Task[Path] | None = None

    async def provide_copy(self, source: str) -> str | None:
        """Return the path of the copy of `source`, which is made first if there is none.

        None: `source` is not in the folder. Raises OSError.
        """
        path = Path(posixpath.normpath(source))
        if not path.is_relative_to(self._source):
            return None
        failed = self._copying is not None and self._copying.done() and self._copying.exception()
        if self._copying is None or failed:
            self._copying = asyncio.create_task(asyncio.to_thread(self._copy))
        copy = await asyncio.shield(self._copying)
        return str(copy / path.relative_to(self._source))

    def _copy(self) -> Path:
        copy = self._shared / f"{self._source.name}-{_fingerprint(self._source)}"
        if not copy.exists():
            log.info("docker.copy_started", source=str(self._source), copy=str(copy))
            unfinished = self._own_folder / self._source.name
            host.remove_folder(unfinished)
            host.make_folder(self._own_folder, None)
            host.copy_folder(self._source, unfinished)
            try:
                unfinished.rename(copy)
            except OSError:  # another agent may have made the same copy meanwhile
                if not copy.is_dir():
                    raise
                host.remove_folder(unfinished)
        if copy.is_symlink() or not host.is_own(copy):
            raise PermissionError(0, f"{copy} is not the agent's", str(copy))
        return copy


def _fingerprint(folder: Path) -> str:
    """Return a digest of the names, modes and contents of all files in a folder.

    Not of sizes and times: whoever can write to a file can set its time too. Raises OSError, also
    if the folder is a link of somebody else: root would copy whatever it leads to.
    """
    if folder.is_symlink() and not host.is_own(folder):
        raise PermissionError(0, f"{folder} is a link of another user", str(folder))
    digest = hashlib.blake2b(digest_size=8)
    for line in _list_files(folder):
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _list_files(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted((*folders, *names)):
            path = Path(here, name)
            status = path.lstat()
            content = ""
            if stat.S_ISLNK(status.st_mode):
                content = str(path.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = _digest(path)
            yield f"{path.relative_to(folder)} {status.st_mode:o} {content}\n"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
