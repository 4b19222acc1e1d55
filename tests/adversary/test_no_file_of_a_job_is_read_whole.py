"""Hold: a file that a job made as large as it likes costs the agent no memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sidecar import host
from sidecar.runner.folder import RunnerFolder
from tests.adversary.attackers import run_as_job
from tests.lives.stage import OTHER_USER, ROOT

pytestmark = pytest.mark.root

READ = """
import os, resource, sys
from pathlib import Path
from types import SimpleNamespace
from sidecar import host
from sidecar.runner.folder import RunnerFolder
if {unmended}:
    def read_whole(path, most=0):
        if path.is_symlink() or not path.is_file():
            return None
        return path.read_bytes(), 0o644
    host.read_regular = read_whole
folder = RunnerFolder(Path({path!r}), None)
def read_all():
    folder.is_configured_as("one")
    folder.read_environment_file()
    folder.state_file.read()
    folder.write_setup_info(SimpleNamespace(title="Task", lines={{}}))
    folder.prepare()
resource.setrlimit(resource.RLIMIT_AS, (768 << 20, 768 << 20))
try:
    read_all()
except MemoryError:
    sys.exit(3)
"""


@pytest.mark.parametrize("name", [".env", ".path", ".runner", ".setup_info"])
def test_a_sparse_file_of_a_gigabyte_counts_as_missing(open_path, name):
    """It takes no room on the disk. Unmended, an agent with 768 MiB of memory fails."""
    root = open_path / "runner"
    (root / "bin").mkdir(parents=True)
    RunnerFolder(root, host.find_user(OTHER_USER)).prepare()
    assert run_as_job(f"truncate -s 1G {name}", root) == 0

    def read(unmended):
        code = READ.format(unmended=unmended, path=str(root))
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120
        ).returncode

    assert read(unmended=True) == 3, "the attack does nothing"
    assert os.path.lexists(root / name)
    assert read(unmended=False) == 0
    assert name == ".setup_info" or not os.path.lexists(root / name)
