"""Hold: whatever a job leaves where the runner's files and folders go, the next life works."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from sidecar import host
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.workspace import make_workspace
from sidecar.shutdown.cleanup import CleanupStack
from tests.adversary.attackers import (
    LEFT_IN_PLACE,
    install_strict_program,
    run_as_job,
    start_agent,
)
from tests.lives.stage import OTHER_USER, open_stage, run_side_by_side
from tests.support.loops import run

pytestmark = pytest.mark.root

LEAVE = {
    "a-file": "echo x >{name}",
    "closed": "mkdir {name} && chmod 0 {name}",
    "a-pipe": "mkfifo {name}",
    "a-loop": "ln -s {name} {name}",
    "a-link": "ln -s /root {name}",
}
USE = "mkdir -p {name}/deep && echo x >{name}/deep/file"


def leave_in_place(monkeypatch):
    """Take the mend away."""
    monkeypatch.setattr(host, "mend_folder", lambda *_: False)


@pytest.fixture
def folder(open_path):
    """Give the folder of a runner on a disk where a life has been."""
    root = open_path / "runner"
    (root / "bin").mkdir(parents=True)
    made = RunnerFolder(root, host.find_user(OTHER_USER))
    made.prepare()
    return made


def begin_life(folder):
    """Do what a life does to the folder before its runner starts."""
    folder.prepare()

    async def enter():
        workspace = make_workspace(
            folder.path, "_work", folder.user, CleanupStack(), remove_after=False
        )
        async with workspace:
            pass

    run("asyncio", enter())


@pytest.mark.parametrize("name", ["_diag", "_diag/pages", "_work", "_work/_temp"])
@pytest.mark.parametrize("kind", LEAVE)
def test_what_a_job_leaves_in_place_of_a_folder_is_replaced(folder, monkeypatch, name, kind):
    """The next runner can use the folder; without the mend it cannot."""
    parent = folder.path / os.path.dirname(name)  # noqa: PTH120
    assert run_as_job(f"mkdir -p {parent} && {LEAVE[kind].format(name=name)}", folder.path) == 0
    with monkeypatch.context() as unmended:
        leave_in_place(unmended)
        begin_life(folder)
        assert run_as_job(USE.format(name=name), folder.path) != 0, "the attack does nothing"
    begin_life(folder)
    assert run_as_job(USE.format(name=name), folder.path) == 0


def write_over_a_file(path, content, mode, user):
    """Write a file as it was done before: only a file makes room."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("name", [".runner", ".credentials", ".setup_info", ".env"])
def test_a_folder_in_place_of_a_file_is_replaced_at_the_end_too(folder, monkeypatch, name):
    """The agent puts its own copies back before `remove`; unmended, a folder keeps it from that."""
    host.write_new(folder.path / name, b"{}", 0o644, folder.user)
    folder.prepare() if name == ".env" else folder.save_copies()
    written = folder.path / name
    host.remove_entry(written)
    assert run_as_job(f"mkdir -p {name}/deep", folder.path) == 0

    def put_back():
        if name == ".setup_info":
            folder.write_setup_info(SimpleNamespace(title="Task", lines={}))
        else:
            host.write_new(written, b"{}", 0o644, folder.user)

    with monkeypatch.context() as unmended:
        unmended.setattr(host, "write_new", write_over_a_file)
        if name == ".setup_info":
            put_back()  # it only informs: the failure is logged
        else:
            with pytest.raises(OSError, match="directory"):
                put_back()
    assert written.is_dir()
    put_back()
    assert written.is_file()


@pytest.mark.parametrize("name", [".sidecar-memory", ".sidecar-memory.new"])
def test_a_folder_cannot_keep_the_agent_from_its_own_record(folder, name):
    """The record of the registered runner is written, and deleted, whatever is in its place."""
    assert run_as_job(f"mkdir -p {name}/deep", folder.path) == 0
    folder.state_file.save_runner("one", unique=True)
    assert RunnerFolder(folder.path, folder.user).state_file.read()[0].name == "one"
    folder.state_file.delete_own()
    assert not (folder.path / ".sidecar-memory").exists()


def test_a_life_after_such_a_job_runs_its_own(aws):
    """All at once in a whole life. Without the mend, the next life registers nothing."""

    async def play():
        async with open_stage(aws) as stage:
            root = stage.runner_folder
            install_strict_program(root)
            await stage.put()
            async with stage.life() as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, 0)
            plant = "echo x >_diag; mkdir -p .runner/deep .credentials .service; mkfifo _work"
            assert run_as_job(f"rm -rf _diag _work; {plant}", root) == 0
            await stage.put()
            async with stage.life(start_agent(LEFT_IN_PLACE)) as life:
                assert await life.wait_for_end() == 15
            await stage.put()
            job = stage.job("pwd")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"

    run_side_by_side(play())
