"""A runner's folder whose program is a few lines of shell, written by each test."""

import pytest

from sidecar import host
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
