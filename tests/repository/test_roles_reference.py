"""The reference of the rules names the keys that are read, and no others."""

from __future__ import annotations

import pytest

from docs.roles_reference import PAGE, TABLES, page
from sidecar.documents.tables import Table
from sidecar.roles.document import RolesError, parse_roles


def test_the_page_is_what_the_code_says() -> None:
    """`make docs` was run after the last change."""
    assert PAGE.read_text() == page(), "run: make docs"


def test_every_key_that_is_read_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its table; a key that nobody reads is not listed."""
    known: list[set[str]] = []
    finish = Table.finish

    def note(table: Table) -> None:
        known.append(set(table._known))
        finish(table)

    monkeypatch.setattr(Table, "finish", note)
    with pytest.raises(RolesError):
        parse_roles("[default]\n[[job]]\n[[container]]\n")
    _, default, job, container = known
    assert {
        "[default]": default,
        "[[job]]": job,
        "[[container]]": container,
    } == {name: set(keys) for name, keys in TABLES.items()}
