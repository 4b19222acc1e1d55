"""The folder of one life in the one that all share, and the copies that stay in there."""

from __future__ import annotations

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.docker.folder_copy import FolderCopy
from sidecar.docker.socket_path import SharedSocket


@pytest.fixture
def source(tmp_path):
    """Give the runner's externals."""
    folder = tmp_path / "runner" / "externals"
    (folder / "node20" / "bin").mkdir(parents=True)
    (folder / "node20" / "bin" / "node").write_text("#!/bin/sh\n")
    (folder / "node20" / "bin" / "node").chmod(0o755)
    (folder / "link").symlink_to("node20")
    return folder


def turned(copy: FolderCopy, *sources: str) -> list[str | None]:
    """Ask for what is mounted in place of these, all at once."""

    async def play():
        return await asyncio.gather(*(copy.turned(source) for source in sources))

    return asyncio.run(asyncio.wait_for(play(), 30))


def test_a_dead_life_s_folder_is_removed_and_a_living_one_s_is_not(tmp_path):
    """It is known by its lock, which ends with the process."""
    dead, living, next_ = SharedSocket(tmp_path), SharedSocket(tmp_path), SharedSocket(tmp_path)
    for own in (dead, living):
        own.make()
        (own.path / "_work").mkdir()
    dead._lock.close()
    next_.make()
    next_.sweep()
    assert sorted(tmp_path.iterdir()) == sorted([living.path, next_.path])
    for own in (living, next_):
        own.remove()
        own.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_swept_is_told_and_hinders_nobody(tmp_path, monkeypatch):
    """Two lives may sweep the same folder at once."""
    for number in (1, 2):
        (tmp_path / f"runner-{number}").mkdir()
    asked = []

    def failing(folder):
        asked.append(folder.name)
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(host, "remove_folder", failing)
    with capture_logs() as logs:
        SharedSocket(tmp_path).sweep()
    assert sorted(asked) == ["runner-1", "runner-2"]
    assert [event["reason"] for event in logs] == ["directory not empty"] * 2


def test_what_is_no_life_s_is_left_alone(tmp_path):
    """A link, or somebody else's folder, whatever its name."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runner-1").symlink_to("elsewhere")
    (tmp_path / "runner-2").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "runner-2", 12345, 12345)
    else:
        (tmp_path / "runner-2").rmdir()
    before = sorted(tmp_path.iterdir())
    own = SharedSocket(tmp_path)
    own.sweep()
    assert sorted(tmp_path.iterdir()) == before


def test_a_copy_is_made_once_and_stays(tmp_path, source):
    """For all who ask at once, and for the lives after it."""
    shared = tmp_path / "shared"
    for _ in range(2):
        own = SharedSocket(shared)
        own.make()
        copy = FolderCopy(source, shared, own.path)
        whole, part, other = turned(copy, f"{source}/", f"{source}/node20", "/usr/externals")
        assert other is None
        assert part == f"{whole}/node20"
        own.remove()
    (found,) = shared.iterdir()
    assert str(found) == whole
    assert os.access(found / "node20" / "bin" / "node", os.X_OK)
    assert (found / "link").readlink().name == "node20"


def test_another_version_is_another_copy(tmp_path, source):
    """Both may be in use."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (one,) = turned(FolderCopy(source, shared, tmp_path), str(source))
    (source / "node24").mkdir()
    (two,) = turned(FolderCopy(source, shared, tmp_path), str(source))
    assert one != two
    assert len(list(shared.iterdir())) == 2


def test_who_is_slower_takes_the_other_s_copy(tmp_path, source, monkeypatch):
    """And leaves nothing of its own."""
    shared, mine = tmp_path / "shared", tmp_path / "mine"
    shared.mkdir()
    mine.mkdir()
    rename = type(source).rename

    def beaten(self, target):
        if self.parent == mine:
            monkeypatch.setattr(type(source), "rename", rename)
            turned(FolderCopy(source, shared, tmp_path), str(source))
        return rename(self, target)

    monkeypatch.setattr(type(source), "rename", beaten)
    (found,) = turned(FolderCopy(source, shared, mine), str(source))
    assert [str(path) for path in shared.iterdir()] == [found]
    assert list(mine.iterdir()) == []


@pytest.mark.root
def test_a_copy_that_somebody_else_put_there_is_not_mounted(tmp_path, source):
    """Every job container would run it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (found,) = turned(FolderCopy(source, shared, tmp_path), str(source))
    os.chown(found, 12345, 12345)
    with pytest.raises(PermissionError):
        turned(FolderCopy(source, shared, tmp_path), str(source))


def test_a_copy_that_fails_is_tried_again(tmp_path, source):
    """Disks fill up and are emptied."""
    shared = tmp_path / "shared"
    copy = FolderCopy(source, shared, tmp_path / "own")
    with pytest.raises(OSError, match="No such file"):
        turned(copy, str(source))
    shared.mkdir()
    assert turned(copy, str(source))[0] is not None


def test_a_lock_is_one_process_s(tmp_path):
    """And free again once it is closed."""
    first = host.locked(tmp_path / "lock")
    assert host.locked(tmp_path / "lock") is None
    first.close()
    again = host.locked(tmp_path / "lock")
    assert again is not None
    again.close()
