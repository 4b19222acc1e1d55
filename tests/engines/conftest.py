"""Fixtures: `engine` (each real docker engine in turn), `task` (where it runs), `root` (Debian 13).

One task and one engine of each kind serve a whole run. A test that changes more than its own
containers and rules makes its own with `tasks.create()` and `engine.start()`.
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
    from tests.engines.proxied import ProxiedLife
    from tests.engines.tasks import Task


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of a Debian 13."""
    return roots.create()


@pytest.fixture(scope="session", params=places.KINDS)
def place(request: pytest.FixtureRequest, root: Path) -> Iterator[Place]:
    """Yield a task with each engine in turn."""
    with places.create(request.param, root) as place:
        yield place


@pytest.fixture(scope="module")
def proxied_life(place: Place) -> Iterator[ProxiedLife]:
    """Run an agent with a docker proxy, whose job waits, for one module's tests."""
    with proxied.run_proxied(place) as life:
        yield life


@pytest.fixture
def engine(place: Place) -> Engine:
    """Return the engine alone."""
    return place.engine


@pytest.fixture
def task(place: Place) -> Task:
    """Return the task alone."""
    return place.task
