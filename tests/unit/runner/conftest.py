"""A runner's folder whose program is a few lines of shell, written by each test."""

import asyncio
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from sidecar import host
from sidecar.runner import program as programs
from sidecar.runner.folder import RunnerFolder


@pytest.fixture
def root(tmp_path, spare_children):
    """Give a prepared folder; the test run's own children are spared."""
    folder = tmp_path / "runner"
    (folder / "bin").mkdir(parents=True)
    made = RunnerFolder(folder, None)
    made.prepare()
    return made


@pytest.fixture
def program(root):
    """Install `Runner.Listener`: shell, with its folder as working directory.

    Each run adds a line to the file `runs`: its arguments and token.
    """

    def install(script):
        head = '#!/bin/sh\necho "$* token=$ACTIONS_RUNNER_INPUT_TOKEN" >>runs\n'
        host.write_new(root.path / host.LISTENER, (head + script).encode(), 0o755, None)

    def runs():
        file = root.path / "runs"
        return file.read_text().splitlines() if file.exists() else []

    install.runs = runs
    return install


@pytest.fixture
def cut_when():
    """Give what ends the time of the programs that run in its block once they are that far.

    A time-out that is short enough for a test may pass before a busy machine has begun a program.
    """

    @contextmanager
    def cut_when(is_far):
        async def wait(waited, *, timeout):
            while not is_far():
                await asyncio.wait(waited, timeout=0.01)
            return await asyncio.wait(waited, timeout=min(timeout, 0.05))

        timed = SimpleNamespace(wait=wait, CancelledError=asyncio.CancelledError)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(programs, "asyncio", timed)
            yield

    return cut_when
