"""Every AWS client gets the task role in every kind of container, and never the instance's role.

The engines and clients are real, and a whole life of the agent runs, whose job waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.engines import lives, matrix, places, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.lives import RunningLife
    from tests.engines.matrix import ClientResult
    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.node]

WITHOUT_CREDENTIALS = {(places.DEBIAN_13, "internal network")}
"""Where no client gets a role: this engine gives internal networks no route."""
INSTANCE = "instance"


class Answers(NamedTuple):
    """The results of all clients in one kind of container."""

    kind: str
    where: str
    answers: dict[str, dict[str, ClientResult]]


@pytest.fixture(scope="module")
def life(place: Place) -> Iterator[RunningLife]:
    """Run an agent in the task, with a job that waits."""
    before = len(place.task.instance_requests())
    with lives.run_life(place) as life:
        yield life
    assert place.task.instance_requests()[before:] == []


@pytest.fixture(scope="module", params=matrix.CONTAINER_KINDS)
def answers(request: pytest.FixtureRequest, place: Place, life: RunningLife) -> Answers:
    """Run every client in one kind of container, in both variants."""
    uri = life.environment[matrix.RELATIVE_URI]
    answers = matrix.ask_all(place, request.param, uri)
    return Answers(place.kind, request.param, answers)


def find_problems(answers: Answers) -> dict[str, str]:
    """Return the clients that did not get the task role, and what they got instead."""
    return {
        f"{client}, {variant}": found.role or found.error or "no output"
        for variant, clients in answers.answers.items()
        for client, found in clients.items()
        if found.role != table.ROLE
    }


def test_every_client_gets_the_task_role(answers: Answers, life: RunningLife) -> None:
    """With the job's URI, and with nothing set: then a client tries the instance's metadata."""
    for found in answers.answers.values():
        assert sorted(found) == sorted(matrix.CLIENTS)
    if (answers.kind, answers.where) in WITHOUT_CREDENTIALS:
        assert len(find_problems(answers)) == len(matrix.CLIENTS) * len(matrix.VARIANTS)
        assert life.life.find_events("network.relay_unreachable")
    else:
        assert find_problems(answers) == {}


def test_no_client_gets_the_instance_role(answers: Answers) -> None:
    """Whatever a client tries after the first address fails."""
    roles = {found.role for clients in answers.answers.values() for found in clients.values()}
    assert INSTANCE not in roles


def test_the_readme_table_matches(answers: Answers) -> None:
    """If not, `python -m tests.engines.table` writes the table anew."""
    assert table.read_clients(answers.kind, answers.where) == table.find_clients(answers.answers)
