"""A folder that the runner's user cannot use ends the life before anything is registered."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar import host
from sidecar.errors import Exit, RunnerError
from sidecar.runner import usable_folders
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.usable_folders import check_folders
from tests.support.loops import run


@pytest.fixture
def place():
    """Give a folder that every user may look into; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def runner(place):
    """Give the folder of a runner of another user."""
    path = place / "runner"
    (path / "bin").mkdir(parents=True)
    made = RunnerFolder(path, None)
    made.prepare()
    made.user = host.find_user("nobody")
    os.chown(path, made.user.uid, made.user.gid)
    return made


def refuse(_path, *_, **__):
    """Make no folder on a read-only file system."""
    raise OSError(30, "Read-only file system")


def check(root, work_dir="_work"):
    """Check the folders of a runner."""
    run("asyncio", check_folders(root, work_dir))


def check_fails(root, work_dir, setting="SIDECAR_WORK_DIR"):
    """Check folders that cannot be used; return the error's text."""
    with pytest.raises(RunnerError) as failed:
        check(root, work_dir)
    assert failed.value.exit is Exit.RUNNER
    assert str(failed.value).endswith(f"({setting} must be writable)")
    return str(failed.value)


def test_a_folder_that_can_be_used_is_left_as_it_is(root):
    """Nothing of the look stays; a missing folder is the runner's to make."""
    before = {path.name for path in root.path.iterdir()}
    check(root)
    (root.path / "_work").mkdir()
    check(root)
    assert {path.name for path in root.path.iterdir()} == {*before, "_work"}
    assert list((root.path / "_work").iterdir()) == []


@contextmanager
def without_root():
    """Be another user within the block, if this is root, who may write anywhere."""
    if not host.is_root():
        yield
        return
    os.seteuid(host.find_user("nobody").uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_agent_that_is_not_root_looks_itself(place):
    """The runner has its own user then."""
    own = RunnerFolder(place, None)
    own.prepare()
    (place / "_work").mkdir(mode=0o500)
    with without_root():
        text = check_fails(own, "_work")
    assert text.startswith(f"cannot write into {place / '_work'} as the agent's user: Perm")


def test_a_file_in_the_place_of_a_folder_is_named(root):
    """As the system names it; so is a read-only mount."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usable_folders.Path, "mkdir", refuse)
        text = check_fails(root, "_work")
    assert "as the agent's user: Read-only file system" in text


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o700, 0o755])
@pytest.mark.parametrize("where", ["itself", "above", "missing"])
def test_a_folder_of_somebody_else_is_not_usable(runner, place, mode, where):
    """Nor is one below such a folder, or one that would have to be made in it."""
    closed = place / "volume"
    closed.mkdir()
    closed.chmod(mode)
    os.chown(closed, 12345, 12345)
    folder = closed if where == "itself" else closed / "work"
    if where == "above":
        folder.mkdir()
        os.chown(folder, 12345, 12345)
    text = check_fails(runner, str(folder))
    assert text.startswith(f"cannot write into {folder} as nobody: Permission denied")


@pytest.mark.root
@pytest.mark.parametrize(
    ("names", "setting"),
    [
        (("_work", "_temp"), "SIDECAR_WORK_DIR"),
        (("_work", "_tool"), "SIDECAR_WORK_DIR"),
        (("_diag",), "SIDECAR_RUNNER_DIR"),
        (("_diag", "pages"), "SIDECAR_RUNNER_DIR"),
    ],
)
def test_the_folders_that_the_runner_makes_itself_count_too(runner, names, setting):
    """A volume may be mounted in the place of any of them."""
    at = runner.path
    for name in names:
        at /= name
        at.mkdir()
        os.chown(at, runner.user.uid, runner.user.gid)
    check(runner)
    os.chown(at, 12345, 12345)
    text = check_fails(runner, "_work", setting)
    assert text.startswith(f"cannot write into {at} as nobody: Permission denied")


def test_a_file_system_that_does_not_answer_is_a_clear_end(root, monkeypatch):
    """A volume of the network can hang for ever."""

    async def hang(_paths, _folder):
        raise TimeoutError

    monkeypatch.setattr(usable_folders, "_try_folders", hang)
    assert "no answer within 60 s" in check_fails(root, "_work")
