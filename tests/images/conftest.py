"""Fixtures: `images`, a task with a real engine that has built both images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import places, roots
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
