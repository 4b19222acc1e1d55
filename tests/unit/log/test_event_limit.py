"""An event is one line of a container's log, whatever is in it."""

from __future__ import annotations

import json

import pytest
import structlog

from sidecar.log import event_limit, events
from sidecar.log.event_limit import LARGEST, fit
from sidecar.log.lines import LIMIT, Lines

WIDE = "\U0001f600"
"""A character of four bytes in a program's output, and of twelve in JSON."""


def longest_line(character):
    """Return the longest line of a program's output that the agent logs, of one character."""
    found = []
    lines = Lines(found.append)
    lines.feed(character.encode() * LIMIT + b"\n")
    return found[0]


def test_the_longest_line_of_a_program_fits_into_one_record(capsys, monkeypatch):
    """Any character may fill it; without the limit, an escaped one is split by the runtime."""
    events.configure("json", "info")
    try:
        for character in ("a", "\\", '"', "\x1b", "é", WIDE, "\u2028"):
            structlog.get_logger().info("runner.printed", line=longest_line(character), stream="x")
        printed = capsys.readouterr().out.splitlines()
        assert len(printed) == 7
        for line in printed:
            assert len(line.encode()) <= LARGEST < 16 * 1024
            assert json.loads(line)["event"] == "runner.printed"
        monkeypatch.setattr(event_limit, "LARGEST", 1 << 20)
        structlog.get_logger().info("runner.printed", line=longest_line(WIDE), stream="x")
        assert len(capsys.readouterr().out.encode()) > 16 * 1024
    finally:
        structlog.reset_defaults()


@pytest.mark.parametrize(
    "facts",
    [
        {"lines": [WIDE * 100] * 25},
        {"lines": ["x" * 300] * 3000},
        {"exception": "begin" + "x\n" * 40_000 + "end"},
        {"tags": {f"{WIDE}{number}": WIDE * 50 for number in range(500)}},
        {"deep": {"one": {"two": ["\\" * 9000] * 4}}},
        {f"key{number}": "x" * 300 for number in range(400)},
        {"text": "\udc80" * 9000},
    ],
)
def test_every_event_is_whole_json_within_the_limit(facts):
    """Long texts are cut in the middle: what went wrong often stands at the end."""
    line = fit({"event": "x.happened", "level": "info", **facts}, json.dumps)
    assert len(line.encode()) <= LARGEST
    read = json.loads(line)
    assert (read["event"], read["level"]) == ("x.happened", "info")
    if "exception" in facts:
        assert read["exception"].startswith("begin")
        assert read["exception"].endswith("end")
        assert "characters cut]" in read["exception"]


def test_a_small_event_is_as_it_was():
    """So is one that has just the largest size."""
    room = LARGEST - len(json.dumps({"event": ""}))
    for event in ({"event": "x", "numbers": [1, None, {"a": 2.5}]}, {"event": "x" * room}):
        assert json.loads(fit(event, json.dumps)) == event
