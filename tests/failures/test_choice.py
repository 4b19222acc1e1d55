"""The choice of cells leaves out only what is played elsewhere."""

import pytest

from docs import failures, failures_api, failures_launcher
from tests.failures.choice import choose, is_done

TABLES = {"agent": failures.SECTIONS, "launcher": failures_launcher.SECTIONS}
TABLES["api"] = failures_api.SECTIONS


@pytest.mark.parametrize("table", TABLES)
def test_each_kind_of_each_call_is_played_once(table):
    """Two cells of a call differ in the outcome, or in whether the service has done its work."""
    rows = [row for section in TABLES[table] for row in section.rows]
    chosen = choose(rows, every=False)
    for row in rows:
        kinds = [(cell, is_done(fault, row)) for own, fault, cell in chosen if own is row]
        assert len(kinds) == len(set(kinds))
        assert set(kinds) == {(cell, is_done(fault, row)) for fault, cell in row.cells.items()}


@pytest.mark.parametrize("table", TABLES)
def test_each_fault_is_played(table):
    """No way to fail is left to the soak."""
    rows = [row for section in TABLES[table] for row in section.rows]
    faults = {fault for _, fault, _ in choose(rows, every=False)}
    assert faults == {fault for row in rows for fault in row.cells}


def test_the_soak_plays_every_cell():
    """It is the whole table."""
    for sections in TABLES.values():
        rows = [row for section in sections for row in section.rows]
        assert len(choose(rows, every=True)) == sum(len(row.cells) for row in rows)
