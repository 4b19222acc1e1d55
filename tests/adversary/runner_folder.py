"""A runner's folder whose jobs are those of the user nobody, for tests of what they can do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from sidecar import host, process
from sidecar.runner.folder import RunnerFolder

NOBODY = host.find_user("nobody")


@contextmanager
def make_runner_folder(script, parent=None):
    """Make a folder that nobody can reach, with this shell script as the runner's program."""
    top = Path(tempfile.mkdtemp(dir=parent))
    try:
        top.chmod(0o755)
        home = top / "home"
        home.mkdir()
        os.chown(home, NOBODY.uid, NOBODY.gid)
        root = top / "runner"
        (root / "bin").mkdir(parents=True)
        host.write_new(root / host.LISTENER, f"#!/bin/sh\n{script}".encode(), 0o755, None)
        user = host.User(NOBODY.name, NOBODY.uid, NOBODY.gid, NOBODY.groups, str(home))
        folder = RunnerFolder(root, user)
        folder.prepare()
        yield folder
    finally:
        shutil.rmtree(top)


def start_as_job(script, **env):
    """Start a shell script as a job's step would run."""
    job = subprocess.Popen(
        ["/bin/sh", "-c", script],
        user=NOBODY.uid,
        group=NOBODY.gid,
        extra_groups=[],
        env={"PATH": os.defpath, **env},
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    process._waited_for.add(job.pid)  # else the agent's code would take it for a child of its own
    return job


def run_as_job(script, **env):
    """Run a shell script as a job's step to its end; return what it printed."""
    return start_as_job(script, **env).communicate(timeout=60)[0]
