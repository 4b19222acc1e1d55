"""Every AWS client, in every kind of container, gets the task role; and none the instance's.

Real engines, real clients and a whole life of the agent whose job waits meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.engines import lives, matrix, places, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.lives import Living
    from tests.engines.matrix import Found
    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.node]

NOBODY = {(places.DEBIAN_13, "internal network")}
"""Where nobody gets a role: this engine gives such a network no way to anywhere."""
INSTANCE = "instance"


class Asked(NamedTuple):
    """What all clients got in one kind of container."""

    kind: str
    where: str
    answers: dict[str, dict[str, Found]]


@pytest.fixture(scope="module")
def living(place: Place) -> Iterator[Living]:
    """Have a life in the task, with a job that waits."""
    before = len(place.task.asked_of_instance())
    with lives.living(place) as living:
        yield living
    assert place.task.asked_of_instance()[before:] == []


@pytest.fixture(scope="module", params=matrix.PLACES)
def asked(request: pytest.FixtureRequest, place: Place, living: Living) -> Asked:
    """Have every client ask in one kind of container, both ways."""
    uri = living.environment[matrix.RELATIVE_URI]
    answers = matrix.asked(place, request.param, uri)
    return Asked(place.kind, request.param, answers)


def wrong(asked: Asked) -> dict[str, str]:
    """Return who did not get the task role, and what it got or said."""
    return {
        f"{client}, {way}": found.role or found.error or "said nothing"
        for way, clients in asked.answers.items()
        for client, found in clients.items()
        if found.role != table.ROLE
    }


def test_every_client_gets_the_task_role(asked: Asked, living: Living) -> None:
    """With the job's URI, and with nothing set, which is when a client asks for the instance."""
    for found in asked.answers.values():
        assert sorted(found) == sorted(matrix.CLIENTS)
    if (asked.kind, asked.where) in NOBODY:
        assert len(wrong(asked)) == len(matrix.CLIENTS) * len(matrix.WAYS)
        assert living.life.find_events("network.relay_unreachable"), "and it is said why"
    else:
        assert wrong(asked) == {}


def test_no_client_gets_the_role_of_the_instance(asked: Asked) -> None:
    """Whatever a client falls back to: the trap on the far side catches nobody."""
    roles = {found.role for clients in asked.answers.values() for found in clients.values()}
    assert INSTANCE not in roles


def test_the_readme_tells_who_gets_it(asked: Asked) -> None:
    """Its table is that of this run: if not, `python -m tests.engines.table` writes it anew."""
    assert table.told(asked.kind, asked.where) == table.who(asked.answers)
