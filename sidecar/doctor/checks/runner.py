"""Check the runner's folder: its program, version and age, and whether there is room."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.examination.finding import Finding, failed, ok, unknown, warning
from sidecar.runner.age import OLD, days_since_build
from sidecar.runner.folder import FREE_SPACE, RunnerFolder
from sidecar.runner.version import read_version

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup

ROOM = 1 << 30
"""Bytes that a job should have, at the least."""


async def check(setup: Setup) -> list[Finding]:
    """Look at the folder, in a thread: a disk may be slow."""
    return await asyncio.to_thread(_check, setup)


def _check(setup: Setup) -> list[Finding]:
    settings = setup.settings
    folder = RunnerFolder(settings.runner_dir, setup.config.user)
    if not Path(folder.listener).is_file():
        text = f"{folder.path} holds no actions runner"
        return [failed(text, "name its folder (SIDECAR_RUNNER_DIR), or use the agent's image")]
    found = [_judge_age(folder)]
    places = {folder.path: "SIDECAR_RUNNER_DIR"}
    if (work := Path(settings.work_dir)).is_absolute() and "{" not in settings.work_dir:
        places[work] = "SIDECAR_WORK_DIR"
    for path, setting in places.items():
        found += _check_place(path, setting)
    return found


def _judge_age(folder: RunnerFolder) -> Finding:
    version, days = read_version(folder.path), days_since_build(folder)
    program = f"actions/runner {version}" if version else "an actions runner of unknown version"
    if days is None:
        text = f"{program}; when it was built is not known"
        return unknown(text, "build the image anew with the newest one, every week or two")
    text = f"{program}, built {days} days ago"
    if days > OLD:
        text += ": GitHub refuses one from 30 days after a newer release is out"
        return warning(text, "build the image anew with the newest actions/runner")
    return ok(text)


def _check_place(path: Path, setting: str) -> list[Finding]:
    """Check that a folder, or the one in which it will be made, can be written to."""
    there = next(each for each in (path, *path.parents) if each.exists())
    if not os.access(there, os.W_OK):
        text = f"{there} cannot be written to ({setting})"
        return [failed(text, "mount a volume there, or give the folder to the agent's user")]
    free = shutil.disk_usage(there).free
    if free >= ROOM:
        return []
    say = failed if free < FREE_SPACE else warning
    return [say(f"{there} has {free >> 20} MiB free ({setting})", "give the task a larger disk")]
