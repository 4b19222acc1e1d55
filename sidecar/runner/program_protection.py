"""Protect the runner's program and its processes from jobs, where these have another user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sidecar import host

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()


def protect(root: Path, user: host.User, *, first_life: bool) -> list[str]:
    """Give the program in `root` to root alone; return the names of what a job had put there.

    Raises OSError.
    """
    # First, because root then walks through `externals`: a job may have left a link there.
    removed = host.secure_program(root, first_life=first_life)
    host.protect_program(root, user)
    if host.are_programs_exposed():
        log.warning(
            "runner.memory_exposed",
            reason="fs.suid_dumpable is 1 on this machine: jobs can look into the runner's own "
            "processes",
            advice="set fs.suid_dumpable to 0 or 2",
        )
    return removed
