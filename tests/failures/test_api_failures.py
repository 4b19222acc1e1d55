"""Play cells of docs/failures_api.py with the launcher's real code."""

import asyncio

from docs.failures_api import SECTIONS
from docs.failures_launcher import FAULTS
from local import ssm
from tests.failures import order_cell
from tests.failures.choice import choose
from tests.failures.launching import PREFIX, hurried

ROWS = [row for section in SECTIONS for row in section.rows]
BESIDE = 8
"""The cells that run at the same time; more of them come to time-outs on a busy machine."""


def test_a_failing_call_of_the_api_has_the_documented_outcome(aws):
    """The first answer and the event are those of the table; one runner comes, and nothing stays.

    Whatever became of an answer: the caller that asks again gets the one order that it began.
    """
    ssm.put(aws, f"{PREFIX}/first", "the first one takes moto a while")
    gate = asyncio.Semaphore(BESIDE)

    async def play(row, fault, cell):
        async with gate:
            try:
                ended = await order_cell.run_cell(aws, row, fault)
            except AssertionError as error:
                raise AssertionError(f"{row.call} / {fault}: {error}") from None
        text = f"{row.call} / {fault}: {ended.exit} {ended.events}\n{ended.transcript}"
        assert ended.exit == cell.exit, text
        assert cell.event in {"life.ended", *ended.events}, text
        assert ended.started == 1 or "token.delayed" in ended.events, text
        assert (ended.tasks, ended.parameters, ended.runners) == (0, 0, 0), text

    async def scene():
        async with hurried():
            with order_cell.hurried():
                # The longest first.
                cells = sorted(choose(ROWS), key=lambda cell: -list(FAULTS).index(cell[1]))
                plays = [play(*cell) for cell in cells]
                results = await asyncio.gather(*plays, return_exceptions=True)
        wrong = [result for result in results if isinstance(result, BaseException)]
        if wrong:
            raise BaseExceptionGroup("cells went wrong", wrong)

    asyncio.run(asyncio.wait_for(scene(), 900))


def test_each_row_of_the_api_has_a_cell_for_each_fault():
    """No cell is missing, and none is for a fault that does not exist."""
    for row in ROWS:
        assert list(row.cells) == list(FAULTS), row.call
