"""Translate the listener's exit codes (actions/runner: Constants.Runner.ReturnCode)."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.errors import Exit

JOB_RESULTS = ("succeeded", "succeeded-with-issues", "failed", "canceled", "skipped", "abandoned")
FIRST_JOB_RESULT = 100
"""A listener can be set, by a variable, to end with this number plus the job's result."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An end of the listener: a name for the log, the agent's exit code, and the meaning."""

    name: str
    exit: Exit
    meaning: str


NAMED = {
    0: Outcome("job-done", Exit.DONE, "the job is done, or the listener was asked to end"),
    1: Outcome("terminated", Exit.RUNNER, "not configured, or its registration was deleted"),
    2: Outcome("retryable", Exit.RUNNER, "an error that it calls transient"),
    3: Outcome("updating", Exit.RUNNER, "it wants to update itself: build the image anew"),
    4: Outcome("updating", Exit.RUNNER, "it wants to update itself: build the image anew"),
    5: Outcome("session-conflict", Exit.CONFLICT, "another process holds its session"),
    6: Outcome("refreshed", Exit.RUNNER, "its configuration was refreshed"),
    7: Outcome("version-deprecated", Exit.DEPRECATED, "GitHub refuses this version of the runner"),
}
DEREGISTERED = Outcome("deregistered", Exit.GHOST, "it was removed from GitHub before it had a job")
WITHDRAWN = Outcome("job-withdrawn", Exit.DONE, "GitHub withdrew the job before it began")
NO_JOB = Outcome(
    "no-job", Exit.RUNNER, "it ended by itself without a job, as when GitHub tells it to shut down"
)
REFUSED = Outcome(
    "job-refused", Exit.REFUSED, "the pool's policy does not admit its job: no step of it ran"
)
NO_SESSION = Outcome(
    "no-session", Exit.RUNNER, "it could not open a session at GitHub within SIDECAR_SESSION_LIMIT"
)


WINDOWS_KILLS = {
    0xC000_013A: "Ctrl-C or Ctrl-Break ended it",
    0xC000_0005: "it used memory that is not its own",
    0xE043_4352: "an error of .NET that it did not handle ended it",
}
"""Exit codes of Windows, which have no sign: what ended a process that did not end itself."""
FIRST_WINDOWS_KILL = 0x8000_0000
"""Windows' exit codes of processes that a failure ended are all at least this."""


def is_kill(code: int) -> bool:
    """Whether an exit code says that the process did not end by itself."""
    return code < 0 or code >= FIRST_WINDOWS_KILL


def find_outcome(code: int) -> Outcome:
    """Return the outcome of an exit code; a negative one is the signal that killed the listener."""
    if code in NAMED:
        return NAMED[code]
    if 0 <= code - FIRST_JOB_RESULT < len(JOB_RESULTS):
        result = JOB_RESULTS[code - FIRST_JOB_RESULT]
        return Outcome(f"job-{result}", Exit.DONE, f"the job {result}")
    if code < 0 or 128 < code < 160:
        number = -code if code < 0 else code - 128
        return Outcome("killed", Exit.RUNNER, f"signal {number} killed it")
    if is_kill(code):
        reason = WINDOWS_KILLS.get(code, "Windows ended it")
        return Outcome("killed", Exit.RUNNER, f"{reason} (0x{code:08X})")
    return Outcome("unknown", Exit.RUNNER, f"it ended with exit code {code}, which has no name")
