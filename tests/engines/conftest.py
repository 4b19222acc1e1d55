"""Fixtures: `engine` (each real docker engine in turn), `task` (where it runs), `root` (Debian 13).

One task and one engine of each kind serve a whole run; a test that changes more than its own
containers and rules makes its own with `tasks.made()` and `engine.started()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import places, proxied, roots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines.engine import Engine
    from tests.engines.places import Place
    from tests.engines.proxied import Proxied
    from tests.engines.tasks import Task


@pytest.fixture(scope="session")
def root() -> Path:
    """Return Debian 13 in a folder."""
    return roots.made()


@pytest.fixture(scope="session", params=places.KINDS)
def place(request: pytest.FixtureRequest, root: Path) -> Iterator[Place]:
    """Give a task with each engine in turn."""
    with places.made(request.param, root) as place:
        yield place


@pytest.fixture(scope="module")
def through(place: Place) -> Iterator[Proxied]:
    """Have a life with a docker proxy, whose job waits, for one module's tests."""
    with proxied.proxied(place) as through:
        yield through


@pytest.fixture
def engine(place: Place) -> Engine:
    """Give the engine alone."""
    return place.engine


@pytest.fixture
def task(place: Place) -> Task:
    """Give the task alone."""
    return place.task
