"""Exit codes of the listener, and the numbers of a job's results."""

import os
import sys
from typing import NoReturn

from .version import VERSION

SUCCESS = 0
TERMINATED = 1
RETRYABLE = 2
SESSION_CONFLICT = 5
VERSION_DEPRECATED = 7
SIGTERM_RECEIVED = 0xC000013A if sys.platform == "win32" else 143
"""Read, not recorded on Windows: there the system itself ends the process, as after Ctrl-C."""
CRASHED = 0xE0434352
"""Windows: an exception that .NET's runtime did not catch."""

RESULTS = ("Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped", "Abandoned")
RESULT_OFFSET = 100


def leave(code: int) -> NoReturn:
    """End the process at once. `os._exit` takes no code above 0x7FFFFFFF, as Windows has them."""
    os._exit(code - (1 << 32) if code >> 31 else code)


class TerminatedError(Exception):
    """Ends the program with code 1; its text goes to stderr."""


class GoneError(Exception):
    """GitHub knows this runner no longer."""


__all__ = [
    "CRASHED",
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
    "leave",
]
