"""A runner's folder whose program is a few lines of shell, told by each test."""

import os
from pathlib import Path

import pytest

from sidecar import host, process
from sidecar.runner.folder import RunnerFolder


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Give a prepared folder; other children of this test run are spared."""
    own = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    monkeypatch.setattr(process, "_alive", {int(pid) for pid in own})
    folder = tmp_path / "runner"
    (folder / "bin").mkdir(parents=True)
    made = RunnerFolder(folder, None)
    made.prepare()
    return made


@pytest.fixture
def program(root):
    """Install `Runner.Listener`: shell, with its folder as working directory.

    Each run is noted in the file `runs`, which gives its arguments and token, one line each.
    """

    def install(script):
        head = '#!/bin/sh\necho "$* token=$ACTIONS_RUNNER_INPUT_TOKEN" >>runs\n'
        host.write_new(root.path / host.LISTENER, (head + script).encode(), 0o755, None)

    def runs():
        noted = root.path / "runs"
        return noted.read_text().splitlines() if noted.exists() else []

    install.runs = runs
    return install
