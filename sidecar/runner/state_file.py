"""What an agent leaves for the next one on the same disk, in case it is killed.

A container may be started again where its predecessor was killed: the runner that one registered
is still at GitHub. Its name is written down before GitHub is asked, its configuration before any
job can touch it; both are erased once it is gone. The file is the agent's own, so where the agent
is root no job can forge it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from sidecar import host

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SavedFile:
    """One file's content and mode, as configure left it."""

    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class SavedRunner:
    """A runner that may be at GitHub."""

    name: str
    unique: bool
    """Whether a runner of that name can only be this one."""
    jit: bool
    copies: dict[str, SavedFile | None] = field(default_factory=dict, repr=False)
    """Its files, None for those that were not there; empty if it was not configured yet."""


class StateFile:
    """The file. Writing it never fails a life: only a kill would need it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runner: dict[str, Any] = {}

    def begin(self, name: str, *, unique: bool, jit: bool = False) -> None:
        """Write down which runner is about to be registered."""
        self._runner = {"name": name, "unique": unique, "jit": jit}
        self._write()

    def keep(self, copies: Mapping[str, SavedFile | None]) -> None:
        """Write down its files too."""
        self._runner["copies"] = {
            name: copy and {"content": base64.b64encode(copy.content).decode(), "mode": copy.mode}
            for name, copy in copies.items()
        }
        self._write()

    def _write(self) -> None:
        new = self._path.with_name(self._path.name + ".new")
        try:
            host.write_new(new, json.dumps(self._runner).encode(), 0o600, None)
            new.replace(self._path)  # at once: a kill in between leaves the old one whole
        except OSError as error:
            log.warning("runner.state_write_failed", reason=error.strerror or str(error))

    def erase(self) -> None:
        """Forget the runner: it is gone."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("runner.state_write_failed", reason=error.strerror or str(error))

    def erase_own(self) -> None:
        """Forget the runner that was written down here, not a predecessor's."""
        if self._runner:
            self.erase()

    def read(self) -> SavedRunner | None:
        """Return what a predecessor wrote down; None if there is nothing, or nothing credible."""
        try:
            if not host.is_own(self._path) or (found := host.read_regular(self._path)) is None:
                return None
            said = json.loads(found[0])
            copies = {
                str(name): copy and SavedFile(base64.b64decode(copy["content"]), int(copy["mode"]))
                for name, copy in said.get("copies", {}).items()
            }
            return SavedRunner(str(said["name"]), bool(said["unique"]), bool(said["jit"]), copies)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
