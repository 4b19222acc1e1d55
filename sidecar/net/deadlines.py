"""Say why an HTTP call failed: TLS that fails, or which of its deadlines passed, or its error."""

from __future__ import annotations

import aiohttp

from sidecar.net.trust import explain_tls


def describe_failure(error: Exception, timeout: aiohttp.ClientTimeout) -> str:
    """Return the reason of an error; a deadline that passed has no text of its own."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        seconds = timeout.connect or timeout.sock_connect or timeout.total or 0.0
        return f"no connection within {seconds:g} s"
    if isinstance(error, TimeoutError) and not error.args:
        return f"no answer within {timeout.total or 0.0:g} s"
    return explain_tls(error) or str(error) or type(error).__name__
