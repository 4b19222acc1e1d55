"""Play cells of the launcher's tables side by side, and name each that goes wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from docs.failures_launcher import FAULTS
from tests.failures.choice import choose

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from docs.failures import Cell, Row

BESIDE = 8
"""The cells that run at the same time; more of them come to time-outs on a busy machine."""


async def play_cells(
    rows: Iterable[Row],
    run_cell: Callable[[Row, str], Awaitable[Any]],
    judge: Callable[[Row, Cell, Any, str], None],
) -> None:
    """Play the chosen cells of rows, the longest first; raise all that goes wrong as one group.

    `judge` takes row, outcome as the table has it, outcome as it was, and the cell's name.
    """
    gate = asyncio.Semaphore(BESIDE)

    async def play(row: Row, fault: str, cell: Cell) -> None:
        async with gate:
            try:
                ended = await run_cell(row, fault)
            except AssertionError as error:
                raise AssertionError(f"{row.call} / {fault}: {error}") from None
        judge(row, cell, ended, f"{row.call} / {fault}")

    cells = sorted(choose(rows), key=lambda cell: -list(FAULTS).index(cell[1]))
    results = await asyncio.gather(*(play(*cell) for cell in cells), return_exceptions=True)
    wrong = [result for result in results if isinstance(result, BaseException)]
    if wrong:
        raise BaseExceptionGroup("cells went wrong", wrong)
