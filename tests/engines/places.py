"""A task, and a real docker engine in its network namespace."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.engines import engine, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.tasks import Task

OWN, DEBIAN_13 = KINDS = ("debian-12", "debian-13")
"""The machine's own engine (Debian 12 has 20.10), and Debian 13's (26.1)."""


class Place(NamedTuple):
    """A task, and the engine that is in its network namespace."""

    kind: str
    """One of KINDS."""
    task: Task
    engine: Engine


@contextmanager
def made(kind: str, root: Path) -> Iterator[Place]:
    """Start an engine of that kind in a task of its own; `root` is Debian 13 in a folder."""
    own = Path("/") if kind == OWN else root
    with tasks.made() as task, engine.started(task.space, own, root) as started:
        yield Place(kind, task, started)
