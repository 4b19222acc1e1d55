"""Exit codes of the listener, and the numbers of a job's results."""

from .version import VERSION

SUCCESS = 0
TERMINATED = 1
RETRYABLE = 2
SESSION_CONFLICT = 5
VERSION_DEPRECATED = 7
SIGTERM_RECEIVED = 143

RESULTS = ("Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped", "Abandoned")
RESULT_OFFSET = 100


class TerminatedError(Exception):
    """Ends the program with code 1; its text goes to stderr."""


class GoneError(Exception):
    """GitHub knows this runner no longer."""


__all__ = [
    "RESULTS",
    "RESULT_OFFSET",
    "RETRYABLE",
    "SESSION_CONFLICT",
    "SIGTERM_RECEIVED",
    "SUCCESS",
    "TERMINATED",
    "VERSION",
    "VERSION_DEPRECATED",
    "GoneError",
    "TerminatedError",
]
