"""Save which runner an agent registers, for the next agent on the same disk if it is killed.

A container may be started again after its agent was killed: the runner which that agent registered
is still at GitHub. Its name is saved before GitHub is called, its configuration before any job can
change it; the file is deleted once the runner is deregistered. The file is the agent's own: where
the agent is root, no job can forge it.
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
    """One file's content and mode, as configure wrote it."""

    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class SavedRunner:
    """A runner that may be registered at GitHub."""

    name: str
    unique: bool
    """Whether a runner of that name can only be this one."""
    jit: bool
    copies: dict[str, SavedFile | None] = field(default_factory=dict, repr=False)
    """Its files, None for those that were missing; empty if it was not configured yet."""


class StateFile:
    """The file. A failed write only logs a warning: the file matters only after a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runner: dict[str, Any] = {}

    def save_runner(self, name: str, *, unique: bool, jit: bool = False) -> None:
        """Save which runner is about to be registered."""
        self._runner = {"name": name, "unique": unique, "jit": jit}
        self._write()

    def save_files(self, copies: Mapping[str, SavedFile | None]) -> None:
        """Save the runner's configuration files too."""
        self._runner["copies"] = {
            name: copy and {"content": base64.b64encode(copy.content).decode(), "mode": copy.mode}
            for name, copy in copies.items()
        }
        self._write()

    def _write(self) -> None:
        new = self._path.with_name(self._path.name + ".new")
        try:
            host.write_new(new, json.dumps(self._runner).encode(), 0o600, None)
            new.replace(self._path)  # atomic: a kill meanwhile keeps the old file whole
        except OSError as error:
            log.warning("runner.state_write_failed", reason=error.strerror or str(error))

    def delete(self) -> None:
        """Delete the file: the runner is deregistered."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("runner.state_write_failed", reason=error.strerror or str(error))

    def delete_own(self) -> None:
        """Delete the file if this agent wrote it, not if a killed agent did."""
        if self._runner:
            self.delete()

    def read(self) -> SavedRunner | None:
        """Return the runner that a killed agent saved; None if there is no valid file of ours."""
        try:
            if not host.is_own(self._path) or (found := host.read_regular(self._path)) is None:
                return None
            saved = json.loads(found[0])
            copies = {
                str(name): copy and SavedFile(base64.b64decode(copy["content"]), int(copy["mode"]))
                for name, copy in saved.get("copies", {}).items()
            }
            return SavedRunner(
                str(saved["name"]), bool(saved["unique"]), bool(saved["jit"]), copies
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
