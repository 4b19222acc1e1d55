"""The runner's diagnostic logs after a failure: limited, masked, never through a link."""

import asyncio
import os
import sys
import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.errors import Exit, RegistrationError
from sidecar.log import masks as logs
from sidecar.runner.diagnostics import LAST_BYTES, LAST_LINES, LINE_BYTES, Diagnostics, last_lines
from sidecar.runner.listener import Listener
from sidecar.shutdown.cleanup import CleanupStack

FIRST, SECOND = "Runner_20260122-121335-utc.log", "Runner_20260122-121402-utc.log"
WORKER = "Worker_20260122-121400-utc.log"


@pytest.fixture
def diag(root):
    """Give a folder for logs with an early one in it."""
    folder = root.path / "_diag"
    folder.mkdir()
    (folder / FIRST).write_text("[12:13:35Z INFO Listener] first\n")
    return folder


def log_of(act):
    """Give what `act` logs, as (verb, file, lines)."""
    with capture_logs() as events:
        act()
    assert all(event["log_level"] == "warning" for event in events)
    return [(event["verb"], event["file"], event["lines"]) for event in events]


def test_the_newest_log_is_logged_once(root, diag):
    """A second failure without a new log file logs nothing."""
    diagnostics = Diagnostics(root)
    (diag / SECOND).write_text("[12:14:02Z ERR  Listener] Not configured\n")
    (diag / "Runner_.log").write_text("of another program")
    (diag / "zzz").write_text("of another program")
    expected = [("configure", f"_diag/{SECOND}", ["[12:14:02Z ERR  Listener] Not configured"])]
    assert log_of(lambda: diagnostics.log_last_lines("configure")) == expected
    assert log_of(lambda: diagnostics.log_last_lines("remove")) == []


def test_a_log_of_an_earlier_life_is_not_logged(root, diag):
    """It was last written before this life began."""
    old = time.time() - 3600
    os.utime(diag / FIRST, (old, old))
    assert log_of(lambda: Diagnostics(root).log_last_lines("configure")) == []


def test_no_folder_and_no_lines_are_no_event(root):
    """The program may fail before it writes anything."""
    assert log_of(lambda: Diagnostics(root).log_last_lines("configure")) == []
    (root.path / "_diag").mkdir()
    (root.path / "_diag" / FIRST).write_text("\n[Z INFO Terminal] WRITE LINE: \n")
    assert log_of(lambda: Diagnostics(root).log_last_lines("configure")) == []


def test_only_the_end_of_a_large_log_is_read(root, diag):
    """A limited number of lines of limited length; the first one is whole."""
    (diag / FIRST).write_bytes(b"x" * 1_000_000 + b"\n" + b"short line\n" * 100_000)
    ((_, _, lines),) = log_of(lambda: Diagnostics(root).log_last_lines("run"))
    assert lines == ["short line"] * LAST_LINES

    (diag / SECOND).write_bytes(b"y y " * 100_000 + b"\n" + b"z z " * 5_000 + b"\n")
    ((_, _, (line,)),) = log_of(lambda: Diagnostics(root).log_last_lines("run"))
    assert line.startswith("z z")
    assert len(line) < LINE_BYTES + 100


def test_lines_cannot_forge_events_or_move_a_cursor():
    """Control characters are escaped."""
    (line,) = last_lines(b'one\x1b[2J{"event":"life.ended"}\r\n')
    assert line == 'one\\x1b[2J{"event":"life.ended"}'


def test_known_and_likely_secrets_are_masked(monkeypatch):
    """Secrets of the agent, by value, and text that looks like a secret."""
    monkeypatch.setattr(logs, "_secrets", set())
    logs.hide("a plain-looking secret")
    pat = "ghp_" + "aB3" * 12
    (line,) = last_lines(f"got a plain-looking secret and {pat}\n".encode())
    assert line == "got *** and ***"
    (line,) = last_lines(("x " * 195 + pat).encode())  # cut only after it is masked
    assert "ghp_" not in line


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.parametrize("kind", ["symlink", "hard-link", "fifo", "folder", "socket"])
def test_nothing_but_a_plain_file_is_read(root, diag, tmp_path, kind):
    """A job cannot make the agent read one of its secrets, or wait for ever."""
    secret = tmp_path / "secret"
    secret.write_text("of the agent\n")
    trap = diag / SECOND
    match kind:
        case "symlink":
            trap.symlink_to(secret)
        case "hard-link":
            trap.hardlink_to(secret)
        case "fifo":
            os.mkfifo(trap)
        case "folder":
            trap.mkdir()
        case "socket":
            import socket

            with socket.socket(socket.AF_UNIX) as bound:
                here = os.open(diag, os.O_RDONLY)
                bound.bind(f"/proc/self/fd/{here}/{SECOND}")
                os.close(here)
    assert log_of(lambda: Diagnostics(root).log_last_lines("run")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_the_folder_itself_is_no_link(root, tmp_path):
    """A link at `_diag` to one of the agent's folders is not followed."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / FIRST).write_text("of the agent\n")
    (root.path / "_diag").symlink_to(tmp_path / "elsewhere")
    assert log_of(lambda: Diagnostics(root).log_last_lines("run")) == []


def test_only_some_of_many_files_are_looked_at(root, diag, monkeypatch):
    """A job can fill the folder."""
    for number in range(50):
        (diag / f"Runner_20260122-1214{number:02}-utc.log").write_text("flood\n")
    if sys.platform != "win32":
        monkeypatch.setattr(host.posix_files, "_MAX_ENTRIES", 10)
    assert len(log_of(lambda: Diagnostics(root).log_last_lines("run"))) == 1


def test_a_failed_configure_or_remove_is_logged(root, diag):
    """When the block fails with the runner's error, and when the runner was not deregistered."""

    def configure(error):
        with pytest.raises(type(error)), Diagnostics(root).log_on_failure("configure"):
            raise error

    assert [verb for verb, *_ in log_of(lambda: configure(RegistrationError("x")))] == ["configure"]
    assert log_of(lambda: configure(OSError("x"))) == []

    cleanup_stack = CleanupStack()
    assert log_of(lambda: Diagnostics(root).log_after_cleanup(cleanup_stack)) == []
    cleanup_stack.register_step("runner", lambda: asyncio.sleep(0))
    assert [
        verb for verb, *_ in log_of(lambda: Diagnostics(root).log_after_cleanup(cleanup_stack))
    ] == ["remove"]


def ended(code, *lines, job=False):
    """Give a listener that printed `lines` and ended with `code`."""
    listener = Listener(SimpleNamespace(enter=lambda _: None))
    result = SimpleNamespace(result=lambda: code)
    listener.process = SimpleNamespace(ended=result, running=False)
    for line in lines:
        listener.read_line("stdout", line)
    if job:
        listener.job.set()
    return listener


def explain(root, listener, code):
    """Give the error's text, and which logs were logged."""
    found = []
    events = log_of(lambda: found.append(Diagnostics(root).explain_failure(listener, code)))
    return found[0], [file for _, file, _ in events]


def test_a_listener_s_failure_is_one_line_and_its_logs(root, diag):
    """With the worker's log if there was a job; with the version if it was printed."""
    (diag / WORKER).write_text("Job received\n")
    text, files = explain(root, ended(-6), Exit.RUNNER)
    assert text == (
        "the runner's listener ended before it had a job with exit code -6: signal 6 killed it "
        "(the event runner.diagnostics_read holds what it wrote last)"
    )
    assert files == [f"_diag/{FIRST}"]
    version = "Current runner version: '2.330.0'"
    text, files = explain(root, ended(2, version, job=True), Exit.RUNNER)
    assert text.startswith("the runner's listener 2.330.0 ended while it had a job")
    assert files == [f"_diag/{FIRST}", f"_diag/{WORKER}"]


def test_an_outdated_version_is_explained(root, diag, program):
    """Also without the variable for exit code 7: then the listener's line counts."""
    program("exit 7\n")
    built = time.time() - 40.5 * 86400
    os.utime(root.listener, (built, built))
    refusal = (
        "An error occurred: Runner version v2.300.0 is deprecated and cannot receive messages."
    )
    for code in (7, 1):
        listener = ended(code, "Current runner version: '2.300.0'", refusal)
        assert listener.choose_exit_code(stopped=False) is Exit.DEPRECATED
        text, _ = explain(root, listener, Exit.DEPRECATED)
        assert text.startswith("the runner's listener 2.300.0 (built 40 days ago) ended before")
        assert "build the image anew" in text
    # A job's own output decides nothing.
    assert ended(1, refusal, job=True).choose_exit_code(stopped=False) is Exit.RUNNER


@pytest.mark.parametrize("code", set(Exit) - {Exit.RUNNER, Exit.DEPRECATED, Exit.CONFLICT})
def test_other_ends_are_no_failure_of_the_listener(root, diag, code):
    """A limit, a stop and a finished job have no error."""
    assert explain(root, ended(0), code) == (None, [])


def test_an_event_fits_into_cloudwatch():
    """One event stays far below CloudWatch's limit of 256 KB."""
    assert LAST_LINES * LINE_BYTES < LAST_BYTES < 64 * 1024
