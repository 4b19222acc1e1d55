"""Make the folder that jobs work in, and remove it after the life if it is this life's alone."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.shutdown.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

NAME = "{name}"
"""Placeholder in SIDECAR_WORK_DIR for the runner's name: the folder is then this life's alone."""
OWN = ("_temp", "_actions", "_tool", "_PipelineMapping")
"""Folders that the runner's worker makes there before each job."""


@asynccontextmanager
async def make_workspace(
    folder: Path,
    work_dir: str,
    user: host.User | None,
    cleanup_stack: CleanupStack,
    *,
    remove_after: bool,
    first_life: bool = False,
) -> AsyncIterator[None]:
    """Make the work folder for `user`; with `remove_after`, register its removal on leaving.

    A docker daemon in another container needs a path that both know, often a volume that is
    root's at first. The removal is registered on leaving, when no job works there any more.
    What an earlier job left in the place of a folder is removed; only in the `first_life` on a disk
    a link of the runner's user is the image's. Raises RunnerError.
    """
    path = folder / work_dir
    try:
        if user is not None and first_life:
            host.keep_link(path)
        _mend(folder, work_dir, user)
    except OSError as error:
        raise RunnerError(
            f"cannot make the work folder {path}: {error.strerror or error} (SIDECAR_WORK_DIR)"
        ) from error
    try:
        yield
    finally:
        if remove_after:
            cleanup_stack.register_step(
                "workspace", partial(run_in_thread, partial(host.remove_folder, path))
            )


def _mend(folder: Path, work_dir: str, user: host.User | None) -> None:
    """Make the work folder, or leave that to the runner; remove what stands in its place."""
    path = Path(work_dir)
    removed = []
    if path.is_absolute():
        host.make_folder(path, user)
    elif host.mend_folder(folder, path.parts, user):
        removed.append(work_dir)
    if os.path.lexists(folder / path):
        removed += [
            f"{work_dir}/{name}" for name in OWN if host.mend_folder(folder / path, (name,), user)
        ]
    if removed:
        log.warning("runner.configuration_removed", stale=removed)
