"""Run cells of docs/failures.py as whole lives, against stand-ins that fail in that way."""

import asyncio

import pytest

from docs.__main__ import FAILURES
from docs.failures import SECTIONS
from docs.failures_page import page
from tests.failures.cell import run_cell
from tests.failures.choice import choose
from tests.lives.stage import PATIENCE, run_side_by_side

ROWS = [row for section in SECTIONS for row in section.rows]
CELLS = choose(ROWS)
GROUPS = (
    "ssm",
    "sts",
    "ecs",
    "imds",
    "github",
    "oidc",
    "configure",
    "gone",
    "remove",
    "spawn",
    "disk",
    "docker",
)
BESIDE = 6
"""How many lives run at the same time: most only wait for an answer that does not come."""


def group(row):
    """Return the group of the row: its service, or the program that calls it."""
    program = row.call.partition(":")[0]
    return program if row.where == "github" and program in GROUPS else row.where


@pytest.mark.parametrize("name", GROUPS)
def test_a_failing_call_has_the_documented_outcome(aws, name):
    """Exit code and event are those of the table; what the table does not name as left is gone."""
    gate = asyncio.Semaphore(BESIDE)

    async def play(row, fault, cell):
        async with gate:
            ended = await run_cell(aws, row, fault)
        text = f"{row.call} / {fault}: {ended.code} {ended.left}\n{ended.transcript}"
        left = cell.left if cell.event else ()  # without a life nothing says what is left
        assert (ended.code, ended.left) == (cell.exit, left), text
        assert cell.event in ended.events or not (cell.event or ended.events), text
        assert "life.crashed" not in ended.events, text
        assert ended.processes == {}, text
        assert "token" in cell.left or ended.parameter is None, text
        assert "runner" in cell.left or ended.runners == [], text

    cells = [cell for cell in CELLS if group(cell[0]) == name]
    assert cells
    run_side_by_side(*(play(*cell) for cell in cells), timeout=15 * PATIENCE)


def test_the_page_is_written_from_the_table():
    """docs/failures.md is what `make docs` writes from the table."""
    assert FAILURES.read_text() == "\n".join(page()) + "\n"


def test_each_row_is_in_a_group_that_is_tested():
    """No row belongs to a group without a test."""
    assert {group(row) for row in ROWS} == set(GROUPS)


def test_each_row_has_a_cell_for_each_fault():
    """No cell is missing, and none is for a fault that its section does not have."""
    for section in SECTIONS:
        for row in section.rows:
            assert list(row.cells) == list(section.faults), row.call
