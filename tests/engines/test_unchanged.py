"""What passes the proxy is the same, byte for byte, as without it.

Each scene runs with the engine's own socket and through the proxy, and must return the same. The
scene itself checks that this is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import places, scenes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.engines.engine import Engine
    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife
    from tests.engines.scenes import SceneFiles

pytestmark = [pytest.mark.docker, pytest.mark.root]

CONTEXT = 200 * scenes.MIB
"""Bytes of a build's context."""
MORE = {places.DEBIAN_12: 50 * scenes.MIB, places.DEBIAN_13: 300 * scenes.MIB}
"""Bytes of an image that is saved and loaded, besides CONTEXT: 500 MB once is enough."""


@pytest.fixture(scope="module")
def engines(place: Place, proxied_life: ProxiedLife) -> list[Engine]:
    """Return the engine itself, and the engine through the proxy."""
    assert proxied_life.engine.host != f"unix://{place.engine.socket}"
    return [place.engine, proxied_life.engine]


@pytest.fixture(scope="module")
def files(place: Place) -> Iterator[SceneFiles]:
    """Make the files that are copied."""
    with scenes.create_files(CONTEXT, MORE[place.kind]) as files:
        yield files


@pytest.mark.parametrize("scene", scenes.STREAMS)
def test_docker_commands_behave_the_same(scene: str, engines: list[Engine]) -> None:
    """Output, exit code and errors; each direction of a stream ends on its own."""
    direct, through_proxy = (scenes.STREAMS[scene](engine) for engine in engines)
    assert through_proxy == direct


def test_logs_are_the_same(engines: list[Engine]) -> None:
    """Through both engines at once, so that even the timestamps are the same."""
    direct, through_proxy = scenes.follow_log(engines)
    assert through_proxy == direct


def test_events_are_the_same(engines: list[Engine]) -> None:
    """Through both engines at once, line by line."""
    direct, through_proxy = scenes.follow_events(engines)
    assert through_proxy == direct


def test_copied_files_are_the_same(engines: list[Engine], files: SceneFiles) -> None:
    """With names, links, modes, owners and times."""
    direct, through_proxy = scenes.copy_files(engines, files)
    assert through_proxy == direct


@pytest.mark.parametrize("builder", [scenes.CLASSIC, scenes.BUILDKIT], ids=["classic", "BuildKit"])
def test_built_images_are_the_same(
    builder: Mapping[str, str], engines: list[Engine], files: SceneFiles
) -> None:
    """With either builder; the layer's digest is that of all that was sent."""
    direct, through_proxy = (scenes.build(engine, files, builder) for engine in engines)
    assert through_proxy == direct


def test_saved_and_loaded_images_are_the_same(engines: list[Engine], files: SceneFiles) -> None:
    """The archive has the same files, and the loaded image is the same."""
    direct, through_proxy = engines
    image = scenes.import_image(direct, files)
    assert scenes.save(through_proxy, image) == scenes.save(direct, image)
    assert scenes.save_and_load(through_proxy, image) == f"Loaded image: {image}:latest\n"
    direct.docker("rmi", image)
