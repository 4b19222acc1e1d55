"""The result as text, as JSON, and as an exit code."""

import json

import pytest

from sidecar.examination.finding import failed, ok, unknown, warning
from sidecar.examination.lines import Line
from sidecar.examination.report import choose_exit_code, write_json, write_text
from sidecar.log import masks

LINES = [
    Line("dns", ok("all names have addresses")),
    Line("token", failed("access denied", "allow ssm:GetParameter")),
]


def test_the_text_is_a_line_for_each_finding():
    """Level, check, what is so, what to change."""
    assert write_text(LINES) == (
        "ok      dns          all names have addresses\n"
        "failed  token        access denied. Change: allow ssm:GetParameter\n"
    )


def test_the_json_is_one_document_on_one_line():
    """With the same, and whether something failed."""
    text = write_json(LINES)
    assert text.count("\n") == 1
    document = json.loads(text)
    assert document["failed"] is True
    assert document["lines"][1] == {
        "level": "failed",
        "check": "token",
        "text": "access denied",
        "change": "allow ssm:GetParameter",
    }


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (ok("x"), 0),
        (warning("x", "y"), 0),
        (unknown("x", "y"), 0),
        (failed("x", "y"), 1),
    ],
)
def test_only_what_failed_is_a_failure(finding, code):
    """Scripts go on beside warnings."""
    assert choose_exit_code([Line("a", finding)]) == code


def test_known_secrets_and_control_characters_are_not_shown(monkeypatch):
    """The last guard: a finding holds neither."""
    monkeypatch.setattr(masks, "_secrets", set())
    masks.hide("very-secret")
    lines = [Line("a", warning("it is very-secret\nok      forged", "very-secret\x1b[2J"))]
    for text in (write_text(lines), write_json(lines)):
        assert "very-secret" not in text
        assert text.count("\n") == 1
        assert "\x1b" not in text
