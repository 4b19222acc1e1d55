"""Names that a job gives to docker are cut before they are logged or remembered.

And however many it has given, what it does later is still told, with a count of what was not.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc

import pytest
from structlog.testing import capture_logs

from sidecar.docker import binds, rewriting, warning_limit
from sidecar.docker.warning_limit import MAX_KINDS, MAX_LINES, MAX_TEXT, MAX_TEXTS, WarningLimit
from tests.unit.docker.test_rewriting import FakePaths, RequestRefused, check, make_policy

if sys.platform == "win32":
    pytest.skip("Windows has no docker proxy", allow_module_level=True)

LONG = "x" * 1_000_000
WAYS = {
    "bind": (False, {"Binds": ["/run/" + "./" * 500_000 + ":/x"]}),
    "device": (True, {"Devices": [{"PathOnHost": "/dev/" + LONG}]}),
}


def ask(policy, host_config) -> str:
    """Ask for a container; return the refusal's text, or nothing."""
    try:
        check(policy, json.dumps({"HostConfig": host_config}).encode())
    except RequestRefused as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
@pytest.mark.parametrize("way", WAYS)
def test_a_name_of_a_megabyte_makes_no_such_line(way, mended, monkeypatch):
    """Neither in the log nor in the answer, and 64 of them leave no memory behind.

    Unmended, a line is as long as the name is.
    """
    if not mended:
        monkeypatch.setattr(warning_limit, "MAX_TEXT", 10_000_000)
        monkeypatch.setattr(binds, "MAX_SOURCE", 10_000_000)
    strict, host_config = WAYS[way]
    policy = make_policy(FakePaths(), strict=strict)
    with capture_logs() as logs:
        answer = ask(policy, host_config)
        text = json.dumps(logs) + answer
    if not mended:
        assert len(text) > 900_000
        return
    assert answer or logs
    assert len(text) < 4 * MAX_TEXT
    ask(policy, host_config)
    tracemalloc.start()
    try:
        for number in range(64):  # all of them different
            text = json.dumps(host_config).replace("/run/", f"/run/{number}/../")
            ask(policy, json.loads(text.replace("xxx", f"{number:03}", 1)))
        del text
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000


class Clock:
    """A clock that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_what_comes_after_a_flood_is_told(mended, monkeypatch):
    """A minute after a hundred refusals the next one has its line, which counts those without.

    Unmended, a number of refusals is the last that is ever told.
    """
    if not mended:
        monkeypatch.setattr(warning_limit, "EVERY", float("inf"))
    clock = Clock()
    policy = make_policy(FakePaths(), strict=True)
    policy.warnings = WarningLimit(clock)
    with capture_logs() as logs:
        for number in range(100):
            ask(policy, {"Devices": [{"PathOnHost": f"/dev/mine{number}"}]})
        flooded = len(logs)
        clock.seconds = 60.0
        ask(policy, {"Devices": [{"PathOnHost": "/dev/sda"}]})
    assert flooded == MAX_LINES
    told = [(line["reason"], line["unsaid"]) for line in logs[flooded:]]
    assert told == ([("the device /dev/sda", 100 - MAX_LINES)] if mended else [])


def test_the_oldest_texts_and_kinds_are_forgotten():
    """A text that is forgotten is told again; a forgotten kind's count goes to the next line."""
    clock = Clock()
    limit = WarningLimit(clock)
    for number in range(MAX_TEXTS + 1):
        clock.seconds += 60.0
        assert limit.admit("one", str(number)) == {}
    assert limit.admit("one", "1") is None  # remembered
    assert limit.admit("one", "0") == {}
    told = [limit.admit("one", f"new {number}") for number in range(MAX_LINES)]
    assert told.count(None) == 2
    counted = [limit.admit(f"kind {number}", "x") for number in range(MAX_KINDS)]
    assert [one for one in counted if one] == [{"unsaid": 2}]
    assert len(limit._kinds) == MAX_KINDS


def test_a_kind_is_found_without_reading_all_of_a_long_name():
    """The kind of a refusal is two words, and cut as well."""
    assert rewriting._find_kind("the device " + "a " * 1000) == "the device"
    limit = WarningLimit()
    limit.admit(LONG, LONG)
    assert all(len(kind) < 2 * MAX_TEXT for kind in limit._kinds)
    assert all(len(text) < 2 * MAX_TEXT for one in limit._kinds.values() for text in one.texts)
