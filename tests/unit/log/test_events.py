"""Events: one line each, as JSON or for people, without the agent's secrets."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from sidecar import host
from sidecar.log import events, masks

ROOT = Path(events.__file__).parents[2]


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self):
        """Return that it is one."""
        return True


@pytest.fixture
def stdout(monkeypatch):
    """Give a function that configures the log and returns what it writes to."""

    def configure(style="json", level="info", *, terminal=False):
        target = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stdout", target)
        events.configure(style, level)
        return target

    monkeypatch.setattr(masks, "_secrets", set())
    return configure


def test_an_event_is_one_line_of_json(stdout):
    """Name, level, time and facts are keys; line breaks are escaped."""
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
def test_the_style_is_the_configured_one(stdout, style, terminal, is_json, coloured):
    """JSON in a task, readable in a terminal, colours only there."""
    written = stdout(style, terminal=terminal)
    structlog.get_logger().info("part.done", fact="x")
    assert written.getvalue().startswith("{") == is_json
    assert ("\x1b[" in written.getvalue()) == coloured


def test_a_terminal_has_colours_only_where_the_system_can(stdout, monkeypatch):
    """Windows cannot without another package."""
    monkeypatch.setattr(host, "may_color", lambda: False)
    written = stdout("console", terminal=True)
    structlog.get_logger().info("part.done", fact="x")
    assert "part.done" in written.getvalue()
    assert "\x1b[" not in written.getvalue()


def test_only_the_configured_level_and_above_is_written(stdout):
    """With `warning`, info is not written."""
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
    """A bug shows where it is, and secrets in the traceback are masked."""
    written = stdout(style)
    masks.hide("AAATOPSECRET")
    try:
        int("AAATOPSECRET")
    except ValueError:
        structlog.get_logger().exception("life.crashed")
    said = written.getvalue()
    assert "Traceback" in said
    assert "base 10: '***'" in said


def test_a_hidden_secret_is_masked_wherever_it_is(stdout):
    """In the event's name, in text, and in what is nested."""
    written = stdout()
    masks.hide("AAATOPSECRET")
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


@pytest.mark.parametrize("broken", ["closed", "gone"])
def test_the_agent_goes_on_without_its_output(stdout, monkeypatch, broken):
    """The output may be closed, or its reader gone."""
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
        "from sidecar import host\n"
        "from sidecar.log import events\n"
        "events.configure('json', 'info')\n"
        "log = structlog.get_logger()\n"
        "log.info('first')\n"
        "sys.stdin.readline()\n"
        "log.info('second')\n"
        "log.info('third')\n"
        "events.flush()\n"  # and so ends a life
        "host.exit_process(16)\n"
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
