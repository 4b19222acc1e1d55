"""Fixtures: `images`, a task with a real engine that has built both images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import engine, places, roots, tasks
from tests.images import bases, building

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.places import Place


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a task whose engine has the images; they are built once."""
    with places.made(places.DEBIAN_13, roots.made()) as place:
        building.built(place.engine, bases.made(), tmp_path_factory.mktemp("image"))
        yield place


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give an instance: an engine with docker's own networks, that has the images."""
    root = roots.made()
    with tasks.made("bridge") as task, engine.started(task.space, root, root) as started:
        building.built(started, bases.made(), tmp_path_factory.mktemp("image"))
        building.stand_ins_built(started, bases.made())
        yield places.Place(places.DEBIAN_13, task, started)
