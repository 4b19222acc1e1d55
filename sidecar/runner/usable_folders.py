"""Check, before anything is registered, that the runner's user can write where its jobs need it.

A runner that cannot write into its work folder takes a job all the same; the job fails without a
line in its log. So an entry is made in each folder, by that user itself: neither mode nor owner
tells what a mount, a quota or a folder above allows.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar import process
from sidecar.errors import RunnerError
from sidecar.runner.folder import LOGS
from sidecar.runner.workspace import OWN
from sidecar.shutdown.threads import run_in_thread

if TYPE_CHECKING:
    from sidecar.runner.folder import RunnerFolder

TIMEOUT = 60.0
"""Seconds for all of them; a network file system may never answer."""
FIRST = 10
"""The exit code that means the first folder; the next ones follow."""
SCRIPT = """\
code=10
for folder do
    until [ -d "$folder" ]; do folder=${folder%/*}; folder=${folder:-/}; done
    mkdir "$folder/$PROBE" && rmdir "$folder/$PROBE" || exit $code
    code=$((code + 1))
done
"""
"""A folder that is missing is made by the runner later: the one above it then counts."""


async def check_folders(folder: RunnerFolder, work_dir: str) -> None:
    """Check the work folder, the runner's own folders in it, and those of its logs.

    Raises RunnerError, which names the folder and the setting.
    """
    work = folder.path / work_dir
    logs = [folder.path.joinpath(*names) for names in LOGS]
    who = folder.user.name if folder.user is not None else "the agent's user"
    try:
        async with asyncio.timeout(TIMEOUT):
            paths = await run_in_thread(lambda _stopped: _find_paths(work, logs))
            found = await _try_folders(paths, folder)
    except TimeoutError:
        found = work, f"no answer within {TIMEOUT:g} s"
    if found is not None:
        path, reason = found
        setting = "SIDECAR_RUNNER_DIR" if path in logs else "SIDECAR_WORK_DIR"
        message = f"cannot write into {path} as {who}: {reason} ({setting} must be writable)"
        raise RunnerError(message)


def _find_paths(work: Path, logs: list[Path]) -> list[Path]:
    """Return the work folder, and what is there of the runner's own folders and of its logs'."""
    own = [work / name for name in OWN]
    # Not Path.exists: it raises where a folder above is closed to the agent.
    return [work, *(path for path in (*own, *logs) if os.path.exists(path))]  # noqa: PTH110


async def _try_folders(paths: list[Path], folder: RunnerFolder) -> tuple[Path, str] | None:
    """Make and remove an entry in each as the runner's user; return the first that fails, and why.

    None if it is possible in all of them.
    """
    probe = f".sidecar-{secrets.token_hex(4)}"
    if folder.user is None:
        return await run_in_thread(lambda _stopped: _make_entries(paths, probe))
    printed: list[str] = []
    command = process.Command(
        ("/bin/sh", "-c", SCRIPT, "sh", *map(str, paths)),
        {"PATH": os.defpath, "PROBE": probe, "LC_ALL": "C"},
        Path("/"),
        folder.user,
    )
    async with process.run_child(command, lambda _stream, line: printed.append(line)) as child:
        code = await child.ended
        await child.read_last_output()
    if code == 0:
        return None
    at = code - FIRST if FIRST <= code < FIRST + len(paths) else 0
    return paths[at], printed[-1].rpartition(": ")[2] if printed else f"exit code {code}"


def _make_entries(paths: list[Path], probe: str) -> tuple[Path, str] | None:
    for path in paths:
        try:
            at = path
            while not os.path.isdir(at):  # noqa: PTH112
                at = at.parent
            (at / probe).mkdir()
            (at / probe).rmdir()
        except OSError as error:
            return path, error.strerror or str(error)
    return None
