"""Choose the cells of a table that are played: one of each kind of a call, or all of them."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docs.failures import Cell, Row

ALL = os.environ.get("FAILURES") == "all"
"""Set by `make soak`: then every cell is played."""


def is_done(fault: str, row: Row) -> bool:
    """Return whether the service has done what it was asked for, and only its answer is lost."""
    if "lost" in row.cells:  # such a table has a fault of its own for it
        return fault in ("lost", "malformed")
    return fault in ("time-out", "reset", "malformed")


def choose(rows: Iterable[Row], *, every: bool = ALL) -> list[tuple[Row, str, Cell]]:
    """Choose cells: row, fault and outcome, in the order of the rows.

    Without `every`, a row has one cell of each kind. Two kinds differ in the outcome, or in whether
    the service has done what it was asked for. Of faults that are alike the one is taken that was
    taken least so far, so that each has its turn.
    """
    used = Counter[str]()
    chosen = []
    for row in rows:
        faults = list(row.cells) if every else _pick(row, used)
        used.update(faults)
        chosen += [(row, fault, row.cells[fault]) for fault in faults]
    return chosen


def _pick(row: Row, used: Counter[str]) -> list[str]:
    alike: dict[tuple[Cell, bool], list[str]] = {}
    for fault, cell in row.cells.items():
        alike.setdefault((cell, is_done(fault, row)), []).append(fault)
    return [min(faults, key=lambda fault: used[fault]) for faults in alike.values()]
