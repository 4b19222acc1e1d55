"""The bars that a person sees while an order is carried out."""

import io
import re

import pytest
import structlog
from rich.console import Console

from launcher import progress
from sidecar.log import events

log = structlog.get_logger()


BAR = re.compile(r"(tasks placed|tokens handed over|tasks running|runners online)\s.*?(\d/\d)")


@pytest.fixture
def shown():
    """Play an order on a terminal; return the bars at its end, and all that was shown."""

    def play(wait, *said):
        events.configure("json", "info")
        console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
        with progress.showing(3, wait, console):
            for name, launch in said:
                log.info(name, launch=launch)
        text = console.file.getvalue()
        return dict(BAR.findall(text)), text  # the last of each

    return play


def test_each_stage_has_a_bar_that_counts_launches_once(shown):
    """An event that comes twice for a launch moves its bar once."""
    bars, _ = shown(
        "online",
        ("task.placed", "a"),
        ("task.placed", "a"),
        ("task.placed", "b"),
        ("token.handed_over", "a"),
        ("runner.online", "a"),
    )
    assert bars == {"tasks placed": "2/3", "tokens handed over": "1/3", "runners online": "1/3"}


def test_a_task_that_failed_is_taken_back(shown):
    """Its launch begins anew, and so do its bars."""
    bars, _ = shown(
        "online", ("task.placed", "a"), ("token.handed_over", "a"), ("task.failed", "a")
    )
    assert set(bars.values()) == {"0/3"}


@pytest.mark.parametrize(
    ("wait", "last"),
    [("none", "tokens handed over"), ("running", "tasks running"), ("online", "runners online")],
)
def test_the_last_bar_is_what_the_order_waits_for(shown, wait, last):
    """There is no bar for what nobody waits for."""
    bars, _ = shown(wait)
    assert list(bars)[-1] == last


def test_the_events_go_on_unchanged(shown):
    """The log has each of them; after the order the bars follow no more."""
    _, text = shown("none", ("task.placed", "a"))
    assert '"launch": "a"' in text
    assert not any(
        getattr(each, "__name__", "") == "follow" for each in structlog.get_config()["processors"]
    )


@pytest.mark.parametrize(
    ("style", "terminal", "expected"),
    [("auto", True, True), ("console", True, True), ("json", True, False), ("auto", False, False)],
)
def test_only_a_terminal_gets_them(monkeypatch, style, terminal, expected):
    """Elsewhere there are JSON lines alone."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    assert progress.can_be_shown(style) is expected
