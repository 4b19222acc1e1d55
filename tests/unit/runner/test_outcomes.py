"""What the listener's exit code means."""

import pytest

from sidecar.errors import Exit
from sidecar.runner.outcomes import find_outcome, is_kill


@pytest.mark.parametrize(
    ("code", "name", "exit_code"),
    [
        (0, "job-done", Exit.DONE),
        (1, "terminated", Exit.RUNNER),
        (2, "retryable", Exit.RUNNER),
        (3, "updating", Exit.RUNNER),
        (4, "updating", Exit.RUNNER),
        (5, "session-conflict", Exit.CONFLICT),
        (6, "refreshed", Exit.RUNNER),
        (7, "version-deprecated", Exit.DEPRECATED),
        (99, "unknown", Exit.RUNNER),
        (100, "job-succeeded", Exit.DONE),
        (102, "job-failed", Exit.DONE),
        (105, "job-abandoned", Exit.DONE),
        (106, "unknown", Exit.RUNNER),
        (143, "killed", Exit.RUNNER),
        (-9, "killed", Exit.RUNNER),
        (-15, "killed", Exit.RUNNER),
        (200, "unknown", Exit.RUNNER),
        (0xC000013A, "killed", Exit.RUNNER),
        (0xC0000005, "killed", Exit.RUNNER),
        (0xE0434352, "killed", Exit.RUNNER),
        (0xC0000409, "killed", Exit.RUNNER),
    ],
)
def test_every_exit_code_is_a_named_outcome(code, name, exit_code):
    """The listener's own codes, job results, signals, and unknown codes."""
    found = find_outcome(code)
    assert (found.name, found.exit) == (name, exit_code)
    assert found.meaning


def test_a_signal_is_named_by_its_number():
    """Both as the shell reports it and as the system does."""
    assert find_outcome(137).meaning == find_outcome(-9).meaning == "signal 9 killed it"


def test_a_crash_on_windows_is_named_by_its_code():
    """It is a large number there, without a sign."""
    assert find_outcome(0xC000013A).meaning == "Ctrl-C or Ctrl-Break ended it (0xC000013A)"
    assert find_outcome(0xC0000409).meaning == "Windows ended it (0xC0000409)"


@pytest.mark.parametrize(
    ("code", "killed"),
    [(0, False), (143, False), (0x7FFFFFFF, False), (-9, True), (0xC0000005, True)],
)
def test_a_process_that_was_ended_is_told_from_one_that_ended(code, killed):
    """An interrupted job counts as cancelled then, whatever was printed."""
    assert is_kill(code) is killed
