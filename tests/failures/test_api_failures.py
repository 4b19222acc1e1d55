"""Play cells of docs/failures_api.py with the launcher's real code."""

import asyncio
from functools import partial

from docs.failures_api import SECTIONS
from docs.failures_launcher import FAULTS
from local import ssm
from tests.failures import order_cell
from tests.failures.launching import PREFIX, hurried
from tests.failures.side_by_side import play_cells

ROWS = [row for section in SECTIONS for row in section.rows]


def test_a_failing_call_of_the_api_has_the_documented_outcome(aws):
    """The first answer and the event are those of the table; one runner comes, and nothing stays.

    Whatever became of an answer: the caller that asks again gets the one order that it began.
    """
    ssm.put(aws, f"{PREFIX}/first", "the first one takes moto a while")

    def judge(_row, cell, ended, name):
        text = f"{name}: {ended.exit} {ended.events}\n{ended.transcript}"
        assert ended.exit == cell.exit, text
        assert cell.event in {"life.ended", *ended.events}, text
        assert ended.started == 1 or "token.delayed" in ended.events, text
        assert (ended.tasks, ended.parameters, ended.runners) == (0, 0, 0), text

    async def scene():
        async with hurried():
            with order_cell.hurried():
                await play_cells(ROWS, partial(order_cell.run_cell, aws), judge)

    asyncio.run(asyncio.wait_for(scene(), 900))


def test_each_row_of_the_api_has_a_cell_for_each_fault():
    """No cell is missing, and none is for a fault that does not exist."""
    for row in ROWS:
        assert list(row.cells) == list(FAULTS), row.call
