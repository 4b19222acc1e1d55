"""Every cell of docs/failures.py, as a whole life against stand-ins that fail in that way."""

import asyncio

import pytest

from docs.__main__ import FAILURES
from docs.failures import SECTIONS, page
from tests.failures.play import outcome
from tests.lives.stage import played

ROWS = [row for section in SECTIONS for row in section.rows]
BESIDE = 6


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.where}-{row.call}".replace(" ", "-"))
def test_a_failing_call_has_the_documented_outcome(aws, row):
    """Exit code and event are those of the table; what is not named as left is gone."""

    async def play(gate, fault, cell):
        async with gate:
            ended = await outcome(aws, row, fault)
        told = f"{row.call} / {fault}: {ended}"
        print(ended.transcript if (ended.code, ended.left) != (cell.exit, cell.left) else "")
        assert (ended.code, ended.left) == (cell.exit, cell.left), told
        assert cell.event in ended.events, told
        assert "life.crashed" not in ended.events, told
        assert ended.survivors == {}, told
        assert "token" in cell.left or ended.held is None, told
        assert "runner" in cell.left or ended.runners == [], told

    async def play_all():
        gate = asyncio.Semaphore(BESIDE)
        async with asyncio.TaskGroup() as group:
            for fault, cell in row.cells.items():
                group.create_task(play(gate, fault, cell))

    played(play_all())


def test_the_page_is_the_table():
    """docs/failures.md says what the table says: `make docs` writes it."""
    assert FAILURES.read_text() == "\n".join(page()) + "\n"


def test_each_row_answers_to_each_fault():
    """No cell is missing, and none is of a fault that its section does not know."""
    for section in SECTIONS:
        for row in section.rows:
            assert list(row.cells) == list(section.faults), row.call
