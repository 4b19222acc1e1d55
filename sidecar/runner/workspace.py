"""Make the folder that jobs work in, and remove it after the life if it is this life's alone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar import host
from sidecar.errors import RunnerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.shutdown.cleanup import CleanupStack

NAME = "{name}"
"""Placeholder in SIDECAR_WORK_DIR for the runner's name: the folder is then this life's alone."""


@asynccontextmanager
async def make_workspace(
    folder: Path,
    work_dir: str,
    user: host.User | None,
    cleanup_stack: CleanupStack,
    *,
    remove_after: bool,
) -> AsyncIterator[None]:
    """Make the work folder for `user`; with `remove_after`, register its removal on leaving.

    A docker daemon in another container needs a path that both know, often a volume that is
    root's at first. The removal is registered on leaving, when no job works there any more.
    Raises RunnerError.
    """
    path = folder / work_dir
    try:
        if Path(work_dir).is_absolute() or path.exists():
            host.make_folder(path, user)
    except OSError as error:
        raise RunnerError(
            f"cannot make the work folder {path}: {error.strerror or error} (SIDECAR_WORK_DIR)"
        ) from error
    try:
        yield
    finally:
        if remove_after:
            cleanup_stack.register_step(
                "workspace", partial(asyncio.to_thread, host.remove_folder, path)
            )
