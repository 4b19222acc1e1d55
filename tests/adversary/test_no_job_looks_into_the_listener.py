"""A job reads the memory and the environment of the runner's listener and worker.

They have the job's own user, and the runner's key. Nobody can read their files, so the kernel
refuses. .NET's socket for debuggers, by which a process of the same user could load code into
them, is closed by a variable that jobs do not inherit.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.host import posix_program
from sidecar.runner import program_protection
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.hooks import VARIABLES, install_hooks
from tests.adversary.runner_folder import make_runner_folder, run_as_job, start_as_job

pytestmark = pytest.mark.root

LOOK = """\
for file in environ maps auxv; do cat /proc/$PID/$file; done 2>&1 | tr '\\0' '\\n'
readlink /proc/$PID/fd/0
"""
DUMPABLE = Path("/proc/sys/fs/suid_dumpable")


@pytest.fixture
def folder():
    """Make a runner's folder whose listener is a compiled program."""
    with make_runner_folder("exit 0\n") as made:
        for name in ("Runner.Listener", "Runner.Worker"):
            shutil.copyfile(shutil.which("cat"), made.path / "bin" / name)
            (made.path / "bin" / name).chmod(0o755)
        yield made


@pytest.mark.skipif(
    DUMPABLE.read_text().strip() == "1", reason="this kernel does not protect such programs"
)
@pytest.mark.parametrize("program", ["Runner.Listener", "Runner.Worker"])
@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_the_environment_and_memory_are_closed(folder, mended, program, monkeypatch):
    """Neither `/proc/PID/environ` nor its memory can be read; it works for the job all the same."""
    if not mended:
        monkeypatch.setattr(posix_program, "_close", lambda _program: None)
    RunnerFolder(folder.path, folder.user).prepare()
    with subprocess.Popen(
        [folder.path / "bin" / program],
        user=folder.user.uid,
        group=folder.user.gid,
        extra_groups=[],
        env={"KEY": "of-the-runner"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as listener:
        listener.stdin.write(b"ready\n")
        listener.stdin.flush()
        assert listener.stdout.readline() == b"ready\n"
        seen = run_as_job(LOOK, PID=str(listener.pid))
        listener.stdin.close()
    assert listener.returncode == 0
    assert ("KEY=of-the-runner" in seen) is not mended
    assert ("/cat" in seen or program in seen) is not mended
    assert mended is ("Permission denied" in seen)


def test_a_script_stays_readable():
    """Its interpreter has to read it, as the runner's user."""
    with make_runner_folder("echo started\n") as folder:
        assert run_as_job(str(folder.path / host.LISTENER)) == "started\n"


@pytest.mark.parametrize(("value", "told"), [("0\n", False), ("1\n", True), ("2\n", False)])
def test_a_kernel_that_does_not_protect_is_named(folder, tmp_path, monkeypatch, value, told):
    """With `fs.suid_dumpable=1` a program that nobody can read is open all the same."""
    (tmp_path / "suid_dumpable").write_text(value)
    monkeypatch.setattr(posix_program, "_DUMPABLE", tmp_path / "suid_dumpable")
    with capture_logs() as events:
        program_protection.protect(folder.path, folder.user, first_life=True)
    found = [event for event in events if event["event"] == "runner.memory_exposed"]
    assert len(found) == told
    assert all("fs.suid_dumpable" in event["advice"] for event in found)


@pytest.mark.parametrize(
    ("in_file", "passed_on", "expected"),
    [(None, None, "1"), (None, "0", "0"), ("0", None, "0"), ("1", "0", "1")],
)
def test_the_listener_has_no_socket_and_its_jobs_may(folder, in_file, passed_on, expected):
    """The listener gets the value 0; a job's steps get the user's own, or 1.

    The user's value in `.env` would win over the listener's environment: it is removed there.
    """
    name = host.DIAGNOSTICS
    if in_file is not None:
        (folder.path / ".env").write_text(f"LANG=C\n{name}={in_file}\n")
    given = {} if passed_on is None else {name: passed_on}

    async def life():
        async with install_hooks(folder, given, lambda _event: None) as variables:
            assert variables[name] == "0"
            assert name not in folder.read_environment_file()
            # Where the job's later steps get their variables from; a job's user owns it.
            exported = folder.path.parent / "home" / "exported"
            run_as_job(f": >{exported}")
            for event in ("started", "completed"):
                hook = start_as_job(
                    f"sh {variables[VARIABLES[event]]}", GITHUB_ENV=str(exported), **{name: "0"}
                )
                assert await asyncio.to_thread(hook.wait, 30) == 0
                hook.stdout.close()
            return exported.read_text()

    assert asyncio.run(life()) == f"{name}={expected}\n"
    if in_file is not None:
        assert folder.read_environment_file()[name] == in_file


def test_without_another_user_nothing_is_set(folder):
    """Jobs can look into every process then; a debugger may be wanted."""
    folder.user = None

    async def life():
        async with install_hooks(folder, {}, lambda _event: None) as variables:
            return variables

    assert host.DIAGNOSTICS not in asyncio.run(life())
    assert os.environ.get(host.DIAGNOSTICS) is None
