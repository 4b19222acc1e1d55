"""Save which runner an agent registers, for the next agent on the same disk if it is killed.

A container may be started again after its agent was killed: the runner which that agent registered
is still at GitHub. Its name is saved before GitHub is called, its configuration before any job can
change it; the record goes once the runner is deregistered. A new runner's record stands beside
those of earlier ones, so that a second kill loses none of them. The file is the agent's own: where
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

MOST_RUNNERS = 8
"""Records of earlier runners that are kept, the newest ones; GitHub removes one after a day."""
LONGEST = 1 << 26
"""Bytes of the file that are read: each record has files of at most a megabyte."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """One file's content and mode, as configure wrote it."""

    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """The moment and place of a life's begin: later processes of the runner's user are its own."""

    space: str
    """The pid namespace (`host.describe_process_space`)."""
    start: int
    """Of the agent's process (`host.read_start`)."""


@dataclass(frozen=True, slots=True)
class SavedRunner:
    """A runner that may be registered at GitHub."""

    name: str
    unique: bool
    """Whether a runner of that name can only be this one."""
    jit: bool
    copies: dict[str, SavedFile | None] = field(default_factory=dict, repr=False)
    """Its files, None for those that were missing; empty if it was not configured yet."""
    began: Beginning | None = None
    """Of the agent's life, if the runner's user had no process then."""


class StateFile:
    """The file. A failed write only logs a warning: the file matters only after a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runner: dict[str, Any] = {}
        self._began: Beginning | None = None
        self._earlier: list[dict[str, Any]] | None = None
        """The records of killed agents, the newest first; None if the file was not read yet."""

    def save_runner(self, name: str, *, unique: bool, jit: bool = False) -> None:
        """Save which runner is about to be registered."""
        self._runner = {"name": name, "unique": unique, "jit": jit}
        if self._began is not None:
            self._runner["began"] = [self._began.space, self._began.start]
        self._write()

    def set_beginning(self, began: Beginning | None) -> None:
        """Save from here on when this life began; those of killed agents no longer count."""
        self._began = began
        earlier = self._read_earlier()
        if any(record.pop("began", None) for record in earlier):
            self._write()

    def save_files(self, copies: Mapping[str, SavedFile | None]) -> None:
        """Save the runner's configuration files too."""
        self._runner["copies"] = {
            name: copy and {"content": base64.b64encode(copy.content).decode(), "mode": copy.mode}
            for name, copy in copies.items()
        }
        self._write()

    def _write(self) -> None:
        runners = [self._runner] * bool(self._runner) + self._read_earlier()[:MOST_RUNNERS]
        new = self._path.with_name(self._path.name + ".new")
        try:
            if not runners:
                host.remove_entry(self._path)
                return
            host.write_new(new, json.dumps({"runners": runners}).encode(), 0o600, None)
            # Atomic: a kill meanwhile keeps the old file whole.
            host.replace_file(new, self._path.name)
        except OSError as error:
            log.warning("runner.state_write_failed", reason=error.strerror or str(error))

    def delete_own(self) -> None:
        """Delete this agent's own record: its runner is deregistered."""
        if self._runner:
            self._runner = {}
            self._write()

    def delete_earlier(self, runner: SavedRunner) -> None:
        """Delete the record of a killed agent's runner: it is deregistered."""
        earlier = self._read_earlier()
        self._earlier = [record for record in earlier if _parse(record) != runner]
        if len(self._earlier) < len(earlier):
            self._write()

    def read(self) -> list[SavedRunner]:
        """Return the runners that killed agents saved, the newest first."""
        return [runner for record in self._read_earlier() if (runner := _parse(record))]

    def _read_earlier(self) -> list[dict[str, Any]]:
        """Read the records once, before this agent writes its own; none if the file is not ours."""
        if self._earlier is None:
            self._earlier = []
            try:
                if host.is_own(self._path) and (found := host.read_regular(self._path, LONGEST)):
                    records = json.loads(found[0])["runners"]
                    self._earlier = [record for record in records if _parse(record)]
            except (OSError, ValueError, TypeError, KeyError, RecursionError):
                pass
        return self._earlier


def _parse(record: Any) -> SavedRunner | None:
    """Return the runner of a record; None if it is invalid."""
    try:
        copies = {
            str(name): copy and SavedFile(base64.b64decode(copy["content"]), int(copy["mode"]))
            for name, copy in record.get("copies", {}).items()
        }
        began = record.get("began")
        return SavedRunner(
            str(record["name"]),
            bool(record["unique"]),
            bool(record["jit"]),
            copies,
            began and Beginning(str(began[0]), int(began[1])),
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
