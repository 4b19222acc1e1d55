"""Every cell of docs/failures.py, as a whole life against stand-ins that fail in that way."""

import asyncio

import pytest

from docs.__main__ import FAILURES
from docs.failures import SECTIONS, page
from tests.failures.play import outcome
from tests.lives.stage import PATIENCE, played

ROWS = [row for section in SECTIONS for row in section.rows]
GROUPS = ("ssm", "sts", "ecs", "github", "configure", "remove", "spawn", "disk")
BESIDE = 6
"""Lives at the same time: most of them wait for an answer that does not come."""


def group(row):
    """Name the test that plays the row: its service, or the program that calls it."""
    program = row.call.partition(":")[0]
    return program if row.where == "github" and program in GROUPS else row.where


@pytest.mark.parametrize("name", GROUPS)
def test_a_failing_call_has_the_documented_outcome(aws, name):
    """Exit code and event are those of the table; what is not named as left is gone."""
    gate = asyncio.Semaphore(BESIDE)

    async def play(row, fault, cell):
        async with gate:
            ended = await outcome(aws, row, fault)
        told = f"{row.call} / {fault}: {ended.code} {ended.left}\n{ended.transcript}"
        assert (ended.code, ended.left) == (cell.exit, cell.left), told
        assert cell.event in ended.events, told
        assert "life.crashed" not in ended.events, told
        assert ended.survivors == {}, told
        assert "token" in cell.left or ended.held is None, told
        assert "runner" in cell.left or ended.runners == [], told

    rows = [row for row in ROWS if group(row) == name]
    cells = [(row, *cell) for row in rows for cell in row.cells.items()]
    assert cells
    played(*(play(*cell) for cell in cells), timeout=15 * PATIENCE)


def test_the_page_is_the_table():
    """docs/failures.md says what the table says: `make docs` writes it."""
    assert FAILURES.read_text() == "\n".join(page()) + "\n"


def test_each_row_is_played():
    """No row is of a group that no test plays."""
    assert {group(row) for row in ROWS} == set(GROUPS)


def test_each_row_answers_to_each_fault():
    """No cell is missing, and none is of a fault that its section does not know."""
    for section in SECTIONS:
        for row in section.rows:
            assert list(row.cells) == list(section.faults), row.call
