"""The runners that are registered, and how the others ended."""

import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from local.github.scope import Scope


class NameTakenError(Exception):
    """Another runner of the scope has this name."""


class StillBusyError(Exception):
    """The runner runs a job: it can be neither removed nor replaced."""


@dataclass
class Label:
    """`kind` as REST says it: `read-only` for the default ones, `custom` for the others."""

    id: int
    name: str
    kind: str = "custom"


@dataclass
class Runner:
    """One registration. `modulus` and `exponent` are its public key, in base64.

    `messages` are sent before any job: kind and body.
    """

    id: int
    name: str
    scope: Scope
    labels: list[Label]
    ephemeral: bool
    visible_at: float
    modulus: str
    group_id: int = 1
    version: str = ""
    operating_system: str = "linux"
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    job_id: int = 0
    jit: bool = False
    exponent: str = "AQAB"
    disable_update: bool = False
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        """Whether a job is its own at this moment."""
        return self.job_id != 0

    def fits(self, labels: Iterable[str]) -> bool:
        """Whether it carries all of `labels`, in whatever case."""
        own = {label.name.lower() for label in self.labels}
        return all(label.lower() in own for label in labels)


@dataclass(frozen=True)
class Removal:
    """The end of a registration: rest, remove, job-completed, ghost, replaced or test."""

    id: int
    name: str
    by: str
    at: float = field(default_factory=time.time)


class Runners:
    """All registrations by id."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._all: dict[int, Runner] = {}
        self._ids = itertools.count(21)
        self._label_ids = itertools.count(1)
        self._changed = changed
        self.removed: list[Removal] = []

    def __iter__(self) -> Iterator[Runner]:
        return iter(list(self._all.values()))

    def get(self, runner_id: int) -> Runner | None:
        """Give the runner, or None when there is none (any more)."""
        return self._all.get(runner_id)

    def find(self, scope: Scope, name: str) -> Runner | None:
        """Give the scope's runner of this name, in whatever case."""
        for runner in self:
            if runner.scope.key == scope.key and runner.name.lower() == name.lower():
                return runner
        return None

    def labels(self, names: Iterable[str], kind: str) -> list[Label]:
        """Make labels of names."""
        return [Label(next(self._label_ids), name, kind) for name in names]

    def add(self, runner: Runner) -> Runner:
        """Register; `runner.id` 0 means a new one. Raises NameTakenError."""
        if self.find(runner.scope, runner.name) is not None:
            raise NameTakenError(runner.name)
        runner.id = runner.id or next(self._ids)
        self._all[runner.id] = runner
        self._changed()
        return runner

    def remove(self, runner: Runner, by: str, *, force: bool = False) -> None:
        """End a registration. Raises StillBusyError, unless `force`."""
        if runner.busy and not force:
            raise StillBusyError(runner.name)
        if self._all.pop(runner.id, None) is not None:
            self.removed.append(Removal(runner.id, runner.name, by))
            self._changed()
