"""Read the values of settings that may be in a file."""

from __future__ import annotations

from pathlib import Path

from sidecar import host, values


def read_session_policy(value: str) -> str:
    """Read a session policy, as JSON or as `file:` and a path; return it without extra space.

    Raises ValueError, which says what is wrong.
    """
    kind, _, path = value.partition(":")
    if kind == "file":
        try:
            value = host.read_given(Path(path)).decode()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            message = f"cannot be read from {path}: {reason}"
            raise ValueError(message) from error
    return values.parse_session_policy(value)
