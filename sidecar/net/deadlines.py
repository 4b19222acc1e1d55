"""Say why an HTTP call failed, and which of its deadlines passed, where that was it."""

from __future__ import annotations

import aiohttp


def describe_failure(error: Exception, timeout: aiohttp.ClientTimeout) -> str:
    """Return the reason of an error; a deadline that passed has no text of its own."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        seconds = timeout.connect or timeout.sock_connect or timeout.total or 0.0
        return f"no connection within {seconds:g} s"
    if isinstance(error, TimeoutError) and not error.args:
        return f"no answer within {timeout.total or 0.0:g} s"
    return str(error) or type(error).__name__
