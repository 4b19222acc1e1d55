"""Decide which folders of the engine's machine a container may mount in strict mode.

Only the job's work folder, and the folder that agents and engine share, and what is below them
without a link on the way. Engine and agent see both under the same path.

A link that is laid between this look and the engine's mount is not seen. So the look is repeated
before each start, and nothing is mounted again without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sidecar import host
from sidecar.docker.binds import normalize_path

if TYPE_CHECKING:
    from sidecar.docker.binds import Sockets


@dataclass(slots=True)
class BindSources:
    """The folders that may be mounted, and all below them."""

    folders: list[str] = field(default_factory=list)
    """Normalized paths."""
    shared: str | None = None
    """The folder that several agents share: of it, no folder of an agent's own."""
    private_names: tuple[str, ...] = ()
    """The beginnings of the names of the agents' own folders."""
    private_folder: str | None = None
    """The runner's folder, whose programs the agent runs; it may lie in the shared one."""
    read_only: str | None = None
    """A folder that may be mounted only to be read; of `shared`, folders whose names begin so."""

    def allow(self, folder: Path) -> None:
        """Let a folder be mounted."""
        self.folders.append(normalize_path(str(folder)))

    def allow_reading(self, folder: Path) -> None:
        """Let a folder, and its copies in the shared one, be mounted to be read only."""
        self.read_only = normalize_path(str(folder))

    def check(self, source: str, sockets: Sockets, *, read_only: bool = False) -> str | None:
        """Return the reason why a folder may not be mounted; None: it may."""
        if sockets.is_known(source):
            return None  # the proxy's socket is mounted
        if sockets.any_in_folder(source):
            return f"the folder {source}, which holds a docker socket"
        path = PurePosixPath(normalize_path(source))
        folder = self._find_folder(path)
        if folder is None:
            return f"the folder {source}, which is neither in the job's work folder nor shared"
        if not read_only and self._must_stay(path):
            return f"the folder {source}, which may only be read (ro)"
        try:
            link = host.find_link_below(Path(folder), path.relative_to(folder).parts)
        except FileNotFoundError:
            return None  # the engine makes it, or reports it
        except (OSError, ValueError) as error:
            return f"the folder {source}, which the agent cannot follow ({type(error).__name__})"
        return None if link is None else f"the folder {source}, because there is a link on the way"

    def is_whole(self, folder: str) -> bool:
        """Return whether this is one of the folders: no job can put a link in its place."""
        return normalize_path(folder) in self.folders

    def _find_folder(self, path: PurePosixPath) -> str | None:
        for folder in self.folders:
            if path.is_relative_to(folder):
                return folder
        if self.read_only is not None and path.is_relative_to(self.read_only):
            return self.read_only
        names = self._find_shared_names(path)
        return self.shared if names and not names[0].startswith(self.private_names) else None

    def _must_stay(self, path: PurePosixPath) -> bool:
        """Return whether others run what is in this folder."""
        if self.read_only is None:
            return False
        names = self._find_shared_names(path)
        copies = PurePosixPath(self.read_only).name + "-"
        return path.is_relative_to(self.read_only) or bool(names and names[0].startswith(copies))

    def _find_shared_names(self, path: PurePosixPath) -> tuple[str, ...]:
        if self.shared is None or not path.is_relative_to(self.shared):
            return ()
        private = PurePosixPath(self.private_folder or "/")
        if self.private_folder and (path.is_relative_to(private) or private.is_relative_to(path)):
            return ()
        return path.relative_to(self.shared).parts
