"""Events: one line each, in JSON or for a person, and no secret in either."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from sidecar.log import events

ROOT = Path(events.__file__).parents[2]


class Terminal(io.StringIO):
    """A standard output that somebody looks at."""

    def isatty(self):
        """Say so."""
        return True


@pytest.fixture
def stdout(monkeypatch):
    """Configure the log as told, with no trace after the test; gives what it wrote to."""

    def configure(style="json", level="info", *, terminal=False):
        target = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stdout", target)
        events.configure(style, level)
        return target

    monkeypatch.setattr(events, "_secrets", set())
    yield configure
    structlog.reset_defaults()


def test_an_event_is_one_line_of_json(stdout):
    """Its name, level, time and facts are keys; what breaks lines is escaped."""
    written = stdout()
    structlog.get_logger().info("part.done", text="a\nb", number=1)
    (line,) = written.getvalue().splitlines()
    said = json.loads(line)
    assert said.pop("timestamp").endswith("Z")
    assert said == {"event": "part.done", "level": "info", "text": "a\nb", "number": 1}


@pytest.mark.parametrize(
    ("style", "terminal", "is_json", "coloured"),
    [
        ("json", False, True, False),
        ("json", True, True, False),
        ("console", False, False, False),
        ("console", True, False, True),
        ("auto", False, True, False),
        ("auto", True, False, True),
    ],
)
def test_the_style_is_what_was_asked_for(stdout, style, terminal, is_json, coloured):
    """JSON in a task, readable in a terminal, colours only where somebody sees them."""
    written = stdout(style, terminal=terminal)
    structlog.get_logger().info("part.done", fact="x")
    assert written.getvalue().startswith("{") == is_json
    assert ("\x1b[" in written.getvalue()) == coloured


def test_only_the_level_asked_for_and_above_is_written(stdout):
    """`warning` keeps info out."""
    written = stdout(level="warning")
    log = structlog.get_logger()
    log.info("part.info")
    log.warning("part.warning")
    log.error("part.error")
    assert [json.loads(line)["level"] for line in written.getvalue().splitlines()] == [
        "warning",
        "error",
    ]


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_is_written_without_a_warning(stdout, style):
    """A bug shows where it is, and its secrets are hidden as well."""
    written = stdout(style)
    events.hide("AAATOPSECRET")
    try:
        int("AAATOPSECRET")
    except ValueError:
        structlog.get_logger().exception("life.crashed")
    said = written.getvalue()
    assert "Traceback" in said
    assert "base 10: '***'" in said


def test_a_secret_is_hidden_wherever_it_stands(stdout):
    """In the event's name, in text, and in what is nested."""
    written = stdout()
    events.hide("AAATOPSECRET")
    structlog.get_logger().info(
        "got AAATOPSECRET",
        text="xAAATOPSECRETx",
        nested={"list": ["AAATOPSECRET", {"deep": ("AAATOPSECRET", 1)}]},
        number=7,
        nothing=None,
    )
    said = json.loads(written.getvalue())
    del said["timestamp"], said["level"]
    assert said == {
        "event": "got ***",
        "text": "x***x",
        "nested": {"list": ["***", {"deep": ["***", 1]}]},
        "number": 7,
        "nothing": None,
    }


def test_of_two_secrets_one_within_the_other_nothing_shows(stdout):
    """The longer one goes first, or its end would be left."""
    stdout()
    for secret in ("SECRET-12", "SECRET-12-AND-MORE", "MORE-SECRET-12"):
        events.hide(secret)
    assert events.redacted("SECRET-12-AND-MORE MORE-SECRET-12 SECRET-12") == "*** *** ***"


def test_what_is_too_short_to_be_a_secret_is_not_hidden(stdout):
    """Or it would eat ordinary text."""
    stdout()
    events.hide("info")
    assert events.redacted("information") == "information"


@pytest.mark.parametrize("broken", ["closed", "gone"])
def test_a_log_that_nobody_reads_ends_nothing(stdout, monkeypatch, broken):
    """The agent goes on when its output is closed, or its reader has left."""
    stdout()
    log = structlog.get_logger()
    target = io.StringIO()
    target.close()
    if broken == "gone":

        class Gone(io.StringIO):
            def write(self, _text):
                raise BrokenPipeError

            def flush(self):
                raise BrokenPipeError

        target = Gone()
    monkeypatch.setattr(sys, "stdout", target)
    log.info("part.done")


def test_a_reader_that_leaves_does_not_change_the_exit_code():
    """`runner-sidecar run | head -1` ends with the life's own code, not with the interpreter's."""
    program = (
        "import structlog, sys\n"
        "from sidecar.log import events\n"
        "events.configure('json', 'info')\n"
        "log = structlog.get_logger()\n"
        "log.info('first')\n"
        "sys.stdin.readline()\n"
        "log.info('second')\n"
        "log.info('third')\n"
        "sys.exit(16)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert json.loads(child.stdout.readline())["event"] == "first"
        child.stdout.close()
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert (child.wait(30), child.stderr.read()) == (16, "")
