"""Fixtures: `place`, a task whose real engine has built the images; `lives`, to run lives in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import engine, places, roots, tasks
from tests.images import bases, building, instances
from tests.lives.stage import open_stage, run_side_by_side

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.engines.engine import Engine
    from tests.engines.places import Place
    from tests.lives.stage import Stage

    Life = Callable[[Stage, Engine], Awaitable[None]]

# A container shares the task's network, as ECS has it, so that the engine needs none of its own,
# and one that runs in such a container may make what this one would have made.
NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Return a task whose engine has the images; they are built once."""
    root = roots.create()
    with tasks.create() as task, engine.start(task.space, root, root, *NO_NETWORK) as started:
        building.build(started, bases.make(), tmp_path_factory.mktemp("archive"))
        yield places.Place(places.DEBIAN_13, task, started)


@pytest.fixture(scope="session")
def instance(place: Place) -> Iterator[Place]:
    """Return an instance, whose engine has the stand-ins' image as well."""
    building.build_stand_ins(place.engine, bases.make())
    with instances.start(place.engine) as started:
        yield started


@pytest.fixture
def lives(place: Place) -> Callable[..., None]:
    """Return what runs lives side by side in the task, each on a stage of its own."""

    async def one(life: Life) -> None:
        async with open_stage(place.task.aws) as stage:
            await life(stage, place.engine)

    return lambda *plays: place.task.space.call(lambda: run_side_by_side(*map(one, plays)))
