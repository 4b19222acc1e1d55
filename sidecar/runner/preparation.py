"""Prepare the runner's folder for a life, within a limit of time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sidecar.errors import RunnerError
from sidecar.shutdown.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.runner.folder import RunnerFolder

TIMEOUT = 120.0
"""Seconds in which the folder must be free of what earlier jobs left there."""


async def prepare_folder(folder: RunnerFolder, passed_on: Mapping[str, str]) -> None:
    """Prepare the folder in a thread: signals are handled meanwhile. Raises RunnerError.

    A job may have left more than can be removed in time; the next life goes on with it.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            await run_in_thread(lambda stopped: folder.prepare(passed_on, stopped))
    except TimeoutError as error:
        raise RunnerError(
            f"cannot prepare the runner's folder {folder.path}: what earlier jobs left there is "
            f"not removed after {TIMEOUT:g} s (the next start goes on with it)"
        ) from error
