"""Fixtures of the tests under wine."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.runner.windows.installing import build_launcher, install
from tests.lives.stage import open_stage
from tests.windows.life import Controller, WindowsStage, Wine, name_on_windows

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """Start a wine."""
    command, python = os.environ["TRY_WINE"], Path(os.environ["TRY_PYTHON"])
    prefix = Path(os.environ["TRY_PREFIX"])
    yield Wine((command,), prefix, python)
    subprocess.run(
        [f"{command}server", "-k"], env={**os.environ, "WINEPREFIX": str(prefix)}, check=False
    )


@pytest.fixture(scope="session")
def windows_runner(wine: Wine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a runner's folder to copy: installed and compiled."""
    folder = tmp_path_factory.mktemp("windows-runner")
    python = name_on_windows(wine.python.parent)
    root = install(folder / "runner", build_launcher(folder), python, powershell=True)
    listener = root / "bin" / "Runner.Listener.exe"
    subprocess.run(
        [*wine.command, listener, "warmup"],
        env=wine.environment,
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    return root


@pytest.fixture
def open_windows_stage(wine: Wine, windows_runner: Path):
    """Give what opens a stage for a life on Windows."""
    controller = Controller(wine)
    kind = type("Stage", (WindowsStage,), {"wine": wine, "controller": controller})
    copy = functools.partial(shutil.copytree, windows_runner)
    yield functools.partial(open_stage, kind=kind, install_runner=copy)
    controller.close()
