"""Play one wrong set-up: make it wrong, examine it, and find the line of the table."""

from __future__ import annotations

from docs.setups import WRONG


def check(examined, name):
    """Check that the line that the table promises is there, and the exit code."""
    wrong = WRONG[name]
    found = examined.find(wrong.check, wrong.level)
    assert any(wrong.words in text for text in found), (wrong, examined.output, examined.errors)
    assert all(line["change"] for line in examined.lines if line["level"] != "ok")
    if wrong.level == "failed":
        assert examined.code == 1


def check_first(examined, name):
    """Check the same, and that no other line fails before it."""
    check(examined, name)
    assert examined.first_failed()["check"] == WRONG[name].check, examined.output
