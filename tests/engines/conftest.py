"""Fixtures: `engine` (each real docker engine in turn), `task` (where it runs), `root` (Debian 13).

One task and one engine of each kind serve a whole run; a test that changes more than its own
containers and rules makes its own with `tasks.made()` and `engine.started()`.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.engines import engine as engines
from tests.engines import roots, tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.tasks import Task

OWN, DEBIAN_13 = "debian-12", "debian-13"
"""The machine's own engine (Debian 12 has 20.10), and Debian 13's (26.1)."""


class Place(NamedTuple):
    """A task, and the engine that is in its network namespace."""

    task: Task
    engine: Engine


@pytest.fixture(scope="session")
def root() -> Path:
    """Return Debian 13 in a folder."""
    return roots.made()


@pytest.fixture(scope="session", params=[OWN, DEBIAN_13])
def place(request: pytest.FixtureRequest, root: Path) -> Iterator[Place]:
    """Give a task with each engine in turn."""
    with ExitStack() as down:
        task = down.enter_context(tasks.made())
        own = Path("/") if request.param == OWN else root
        yield Place(task, down.enter_context(engines.started(task.space, own, root)))


@pytest.fixture
def engine(place: Place) -> Engine:
    """Give the engine alone."""
    return place.engine


@pytest.fixture
def task(place: Place) -> Task:
    """Give the task alone."""
    return place.task
