"""What passes the proxy is what it would be without it, to the byte.

Each scene is played by the engine's own socket and through the proxy, and must come out the same;
that it came out right is for the scene itself to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import places, scenes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.engines.engine import Engine
    from tests.engines.places import Place
    from tests.engines.proxied import Proxied
    from tests.engines.scenes import Luggage

pytestmark = [pytest.mark.docker, pytest.mark.root]

CONTEXT = 200 * scenes.MIB
"""Bytes of a build's context."""
MORE = {places.OWN: 50 * scenes.MIB, places.DEBIAN_13: 300 * scenes.MIB}
"""Bytes of an image that is saved and loaded, beside these: 500 MB once is enough."""


@pytest.fixture(scope="module")
def ways(place: Place, through: Proxied) -> list[Engine]:
    """Give the engine itself, and as the job sees it."""
    assert through.engine.host != f"unix://{place.engine.socket}"
    return [place.engine, through.engine]


@pytest.fixture(scope="module")
def luggage(place: Place) -> Iterator[Luggage]:
    """Make the files that go to and fro."""
    with scenes.luggage(CONTEXT, MORE[place.kind]) as luggage:
        yield luggage


@pytest.mark.parametrize("scene", scenes.STREAMS)
def test_what_a_user_sees_is_the_same(scene: str, ways: list[Engine]) -> None:
    """Output, exit code and errors; both directions of a stream end on their own."""
    direct, through = (scenes.STREAMS[scene](way) for way in ways)
    assert through == direct


def test_a_log_is_followed_to_its_end(ways: list[Engine]) -> None:
    """By both ways at once, so that even the times in it are the same."""
    direct, through = scenes.followed(ways)
    assert through == direct


def test_events_are_heard_as_they_happen(ways: list[Engine]) -> None:
    """By both ways at once, line by line."""
    direct, through = scenes.heard(ways)
    assert through == direct


def test_files_are_copied_both_ways(ways: list[Engine], luggage: Luggage) -> None:
    """With names, links, modes, owners and times."""
    direct, through = scenes.copied(ways, luggage)
    assert through == direct


@pytest.mark.parametrize("builder", [scenes.CLASSIC, scenes.BUILDKIT], ids=["classic", "BuildKit"])
def test_a_large_context_is_built(
    builder: Mapping[str, str], ways: list[Engine], luggage: Luggage
) -> None:
    """By either builder; the digest of the layer is that of all that was sent."""
    direct, through = (scenes.built(way, luggage, builder) for way in ways)
    assert through == direct


def test_a_large_image_is_saved_and_loaded(ways: list[Engine], luggage: Luggage) -> None:
    """The archive holds the same files, and what is loaded is the image that it was."""
    direct, through = ways
    image = scenes.imported(direct, luggage)
    assert scenes.saved(through, image) == scenes.saved(direct, image)
    assert scenes.moved(through, image) == f"Loaded image: {image}:latest\n"
    direct.docker("rmi", image)
