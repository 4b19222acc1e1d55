"""The folder with the proxy's socket is made, removed, and removed for killed agents."""

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
    """Return the runner's externals."""
    folder = tmp_path / "runner" / "externals"
    (folder / "node20" / "bin").mkdir(parents=True)
    (folder / "node20" / "bin" / "node").write_text("#!/bin/sh\n")
    (folder / "node20" / "bin" / "node").chmod(0o755)
    (folder / "link").symlink_to("node20")
    return folder


def provide(copy: FolderCopy, *sources: str) -> list[str | None]:
    """Ask for the copies of all sources at once."""

    async def scenario():
        return await asyncio.gather(*(copy.provide_copy(source) for source in sources))

    return asyncio.run(asyncio.wait_for(scenario(), 30))


def test_only_the_folder_of_a_killed_agent_is_removed(tmp_path):
    """It is known by its lock, which the system releases when the process ends."""
    killed, running, next_ = SharedSocket(tmp_path), SharedSocket(tmp_path), SharedSocket(tmp_path)
    for place in (killed, running):
        place.make()
        (place.path / "_work").mkdir()
    killed._lock.close()
    next_.make()
    next_.remove_leftovers()
    assert sorted(tmp_path.iterdir()) == sorted([running.path, next_.path])
    for place in (running, next_):
        place.remove()
        place.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_removal_is_logged_and_the_next_folder_is_removed(tmp_path, monkeypatch):
    """Two agents may remove the same folder at once."""
    for number in (1, 2):
        (tmp_path / f"runner-{number}").mkdir()
    removed = []

    def fail(folder):
        removed.append(folder.name)
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(host, "remove_folder", fail)
    with capture_logs() as logs:
        SharedSocket(tmp_path).remove_leftovers()
    assert sorted(removed) == ["runner-1", "runner-2"]
    assert [event["reason"] for event in logs] == ["directory not empty"] * 2


def test_other_folders_are_left_alone(tmp_path):
    """A link, or a folder of another user, whatever its name."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runner-1").symlink_to("elsewhere")
    (tmp_path / "runner-2").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "runner-2", 12345, 12345)
    else:
        (tmp_path / "runner-2").rmdir()
    before = sorted(tmp_path.iterdir())
    place = SharedSocket(tmp_path)
    place.remove_leftovers()
    assert sorted(tmp_path.iterdir()) == before


def test_a_copy_is_made_once_and_stays(tmp_path, source):
    """For all containers that ask at once, and for later agents."""
    shared = tmp_path / "shared"
    for _ in range(2):
        place = SharedSocket(shared)
        place.make()
        copy = FolderCopy(source, shared, place.path)
        whole, part, other = provide(copy, f"{source}/", f"{source}/node20", "/usr/externals")
        assert other is None
        assert part == f"{whole}/node20"
        place.remove()
    (found,) = shared.iterdir()
    assert str(found) == whole
    assert os.access(found / "node20" / "bin" / "node", os.X_OK)
    assert (found / "link").readlink().name == "node20"


def test_another_version_is_another_copy(tmp_path, source):
    """Both may be in use."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (one,) = provide(FolderCopy(source, shared, tmp_path), str(source))
    (source / "node24").mkdir()
    (two,) = provide(FolderCopy(source, shared, tmp_path), str(source))
    assert one != two
    assert len(list(shared.iterdir())) == 2


def test_who_is_slower_takes_the_other_s_copy(tmp_path, source, monkeypatch):
    """Its own copy is removed."""
    shared, mine = tmp_path / "shared", tmp_path / "mine"
    shared.mkdir()
    mine.mkdir()
    rename = type(source).rename

    def rename_late(self, target):
        if self.parent == mine:
            monkeypatch.setattr(type(source), "rename", rename)
            provide(FolderCopy(source, shared, tmp_path), str(source))
        return rename(self, target)

    monkeypatch.setattr(type(source), "rename", rename_late)
    (found,) = provide(FolderCopy(source, shared, mine), str(source))
    assert [str(path) for path in shared.iterdir()] == [found]
    assert list(mine.iterdir()) == []


@pytest.mark.root
def test_a_copy_that_somebody_else_put_there_is_not_mounted(tmp_path, source):
    """Else every job container would run it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (found,) = provide(FolderCopy(source, shared, tmp_path), str(source))
    os.chown(found, 12345, 12345)
    with pytest.raises(PermissionError):
        provide(FolderCopy(source, shared, tmp_path), str(source))


def test_a_copy_that_fails_is_tried_again(tmp_path, source):
    """The disk may have been full for a moment."""
    shared = tmp_path / "shared"
    copy = FolderCopy(source, shared, tmp_path / "own")
    with pytest.raises(OSError, match="No such file"):
        provide(copy, str(source))
    shared.mkdir()
    assert provide(copy, str(source))[0] is not None


def test_a_lock_is_one_process_s(tmp_path):
    """It is free again after it is closed."""
    first = host.locked(tmp_path / "lock")
    assert host.locked(tmp_path / "lock") is None
    first.close()
    again = host.locked(tmp_path / "lock")
    assert again is not None
    again.close()
