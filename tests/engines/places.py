"""Make a task with a real docker engine in its network namespace."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.engines import engine, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.tasks import Task

DEBIAN_12, DEBIAN_13 = KINDS = ("debian-12", "debian-13")
"""This machine's own engine (Debian 12 has 20.10), and that of Debian 13 (26.1)."""


class Place(NamedTuple):
    """A task, and the engine in its network namespace."""

    kind: str
    """One of KINDS."""
    task: Task
    engine: Engine


@contextmanager
def create(kind: str, root: Path) -> Iterator[Place]:
    """Start an engine of that kind in a new task; `root` is the folder of a Debian 13."""
    engine_root = Path("/") if kind == DEBIAN_12 else root
    with tasks.create() as task, engine.start(task.space, engine_root, root) as running:
        yield Place(kind, task, running)
