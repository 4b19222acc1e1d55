"""Hold: what a job left is removed, however deep it is, and however long somebody writes there."""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from sidecar import host
from sidecar.host.posix import trees
from sidecar.runner.workspace import make_workspace
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.shutdown.threads import run_in_thread
from tests.lives.stage import OTHER_USER
from tests.support.loops import run

pytestmark = pytest.mark.root

DEPTH = 1200


def make_deep(folder, depth=DEPTH):
    """Make folders in one another, deeper than any path may be; the last one is closed."""
    inside = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deeper", dir_fd=inside)
        deeper = os.open("deeper", os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = deeper
    with os.fdopen(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=inside), "w") as file:
        file.write("x")
    os.fchmod(inside, 0)
    os.close(inside)


def remove_recursively(path, stopped=None):
    """Remove a folder as it was done before."""
    shutil.rmtree(path)


def test_a_work_folder_of_1200_levels_is_removed(tmp_path, monkeypatch):
    """With 64 files open at most. Unmended, the cleanup step fails."""
    work = tmp_path / "work"

    async def end_life():
        cleanup_stack = CleanupStack()
        workspace = make_workspace(tmp_path, str(work), None, cleanup_stack, remove_after=True)
        async with workspace:
            if not any(work.iterdir()):
                make_deep(work)
        (step,) = cleanup_stack.steps
        await step.begin()
        return step

    with monkeypatch.context() as unmended:
        unmended.setattr(host, "remove_folder", remove_recursively)
        assert "recursion" in run("asyncio", end_life()).error
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        assert run("asyncio", end_life()).error is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not work.exists()


WRITE = """\
cd deep && echo ready
while read -r name; do (: >"$name") 2>/dev/null && echo written || echo refused; done
"""


def test_a_process_that_goes_on_writing_does_not_keep_a_folder(open_path, monkeypatch):
    """It writes just before each folder is removed. A folder that root removes is root's first."""
    user = pwd.getpwnam(OTHER_USER)
    folder = open_path / "work"
    answers = []

    def lay_out():
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        for path in (folder, folder / "deep"):
            os.chown(path, user.pw_uid, user.pw_gid)

    lay_out()
    with subprocess.Popen(
        ["sh", "-c", WRITE],
        cwd=folder,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout.readline() == "ready\n"
        rmdir = os.rmdir

        def write_first(path, **more):
            job.stdin.write(f"file-{len(answers)}\n")
            job.stdin.flush()
            answers.append(job.stdout.readline().strip())
            return rmdir(path, **more)

        monkeypatch.setattr(os, "rmdir", write_first)
        with pytest.raises(OSError, match="not empty"):
            remove_recursively(folder)
        assert answers == ["written"], "the attack does nothing"
        host.remove_folder(folder)
        assert set(answers[1:]) == {"refused"}
        assert not folder.exists()
        job.stdin.close()


def test_a_removal_that_nobody_waits_for_ends(tmp_path):
    """The thread gives up: the process would wait for it, past its stop budget."""
    folder = tmp_path / "work"
    folder.mkdir()
    for number in range(20):
        (folder / str(number)).touch()
    asked = []

    def is_stopped():
        asked.append(len(list(folder.iterdir())))
        return len(asked) > 5

    with pytest.raises(TimeoutError):
        host.remove_folder(folder, is_stopped)
    assert 0 < len(list(folder.iterdir())) < 20

    async def play():
        seen = asyncio.Event()
        ended = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def work(stopped):
            loop.call_soon_threadsafe(seen.set)
            while not stopped():
                pass
            loop.call_soon_threadsafe(ended.set_result, True)

        waiting = asyncio.create_task(run_in_thread(work))
        await seen.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert await asyncio.wait_for(ended, 30)

    asyncio.run(play())


def test_what_cannot_be_removed_is_named_and_the_rest_goes(tmp_path, monkeypatch):
    """One entry that stays is no reason to leave others."""
    for name in ("a", "b", "c"):
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "file").touch()
    unlink = os.unlink

    def refuse(path, **more):
        if Path(f"/proc/self/fd/{more['dir_fd']}").readlink().name == "b":
            raise PermissionError(1, "Operation not permitted", path)
        return unlink(path, **more)

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError):
        host.remove_folder(tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["b"]


def give_recursively(inside, name):
    """Give a tree to root as it was done before, and as Python 3.11 walks one."""
    here = os.open(name, os.O_RDONLY, dir_fd=inside)
    try:
        with os.scandir(here) as entries:
            names = [entry.name for entry in entries]
        for entry in names:
            if stat.S_ISDIR(os.lstat(entry, dir_fd=here).st_mode):
                give_recursively(here, entry)
            os.chown(entry, 0, 0, dir_fd=here, follow_symlinks=False)
    finally:
        os.close(here)


def test_a_deep_folder_in_place_of_externals_keeps_no_life_from_beginning(open_path, monkeypatch):
    """A job can make one where the image has none. Unmended, looking at it fails."""
    root = open_path / "runner"
    (root / "bin").mkdir(parents=True)
    user = host.find_user(OTHER_USER)
    (root / "externals").mkdir()
    make_deep(root / "externals")
    os.chown(root / "externals", user.uid, user.gid)
    with monkeypatch.context() as unmended:
        unmended.setattr(trees, "give_to_root", give_recursively)
        with pytest.raises((RecursionError, OSError)):
            host.protect_program(root, user)
    assert (root / "externals").exists()
    host.protect_program(root, user)
    assert not (root / "externals").exists()
