"""Sort GitHub's refusals: which error a status means, and how long GitHub wants no requests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sidecar.github.errors import (
    AddressRefused,
    ClockRefused,
    CredentialRefused,
    GitHubError,
    PermissionDenied,
    RateLimited,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def make_error(
    text: str, status: int, message: str, headers: Mapping[str, str], now: float
) -> GitHubError:
    """Make the error that a status means where a call gives it no meaning of its own.

    `text` becomes the error's text, `message` is GitHub's own; `now` is in seconds since 1970.
    """
    if status == 429 or (status == 403 and _is_limited(message, headers)):
        return RateLimited(text, status, read_pause(headers, now))
    if status >= 500 or status == 408:
        return TransientError(text, status)
    if status == 403 and "ip allow list" in message.lower():
        return AddressRefused(text, status)
    if status == 401:
        return CredentialRefused(text, status)
    if status in (403, 404):
        return PermissionDenied(text, status)
    return GitHubError(text, status)


def advise(error: GitHubError, permission: str) -> str:
    """Return what to change, in brackets, to put behind an error's text; "" where that says it.

    `permission`: what the call needs, which is only advice where the answer is about that.
    """
    match error:
        case AddressRefused():
            return " (add this address to the organization's IP allow list)"
        case ClockRefused():
            return ""
        case CredentialRefused(status=401):
            wrong = "it is wrong, has expired or was revoked"
            return f" ({wrong}: SIDECAR_GITHUB_PAT, SIDECAR_GITHUB_APP_KEY)"
        case CredentialRefused():
            return ""
        case PermissionDenied():
            return f" ({permission})"
    return ""


def read_pause(headers: Mapping[str, str], now: float) -> float | None:
    """Read how long GitHub wants no requests: `retry-after`, else until the limit's reset."""
    try:
        if "retry-after" in headers:
            seconds = float(headers["retry-after"])
        elif headers.get("x-ratelimit-remaining") == "0":
            seconds = max(0.0, float(headers["x-ratelimit-reset"]) - now)
        else:
            return None
    except (KeyError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _is_limited(message: str, headers: Mapping[str, str]) -> bool:
    return (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in message.lower()
    )
