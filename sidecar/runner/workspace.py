"""The folder that jobs work in, where it is not simply one of the runner's own."""

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
"""What in SIDECAR_WORK_DIR stands for the runner's name: the folder is then this life's alone."""


@asynccontextmanager
async def workspace(
    root: Path,
    work_dir: str,
    user: host.Identity | None,
    cleanup_stack: CleanupStack,
    *,
    alone: bool,
) -> AsyncIterator[None]:
    """Make the folder, for `user`; one that is this life's `alone` is owed its removal.

    Containers of a daemon elsewhere get the folder from a path that both know, where a volume is
    root's at first. Raises RunnerError. It is owed on leaving only, when no job works in it.
    """
    path = root / work_dir
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
        if alone:
            cleanup_stack.register_step(
                "workspace", partial(asyncio.to_thread, host.remove_folder, path)
            )
