"""The processes of one user: not needed on Windows, where a job object ends them all."""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def list_user_processes(uid: int) -> dict[int, int]:
    """Return none: users have no such ids here."""
    del uid
    return {}


def read_start(pid: int) -> int:
    """Return 0: nothing here needs to know."""
    del pid
    return 0


def describe_process_space() -> str:
    """Return an empty text: there are no pid namespaces here."""
    return ""


def explain_shared_space() -> str | None:
    """Return an empty text: a job object ends what a child has started."""
    return ""
