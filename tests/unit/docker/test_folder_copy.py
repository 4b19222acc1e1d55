"""A folder that the engine cannot see is copied once for each version."""

from __future__ import annotations

import asyncio
import os

import pytest

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
    (copied,) = shared.iterdir()
    assert str(copied) == whole
    assert os.access(copied / "node20" / "bin" / "node", os.X_OK)
    assert (copied / "link").readlink().name == "node20"


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
    (copied,) = provide(FolderCopy(source, shared, mine), str(source))
    assert [str(path) for path in shared.iterdir()] == [copied]
    assert list(mine.iterdir()) == []


@pytest.mark.root
def test_a_copy_that_somebody_else_put_there_is_not_mounted(tmp_path, source):
    """Else every job container would run it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (copied,) = provide(FolderCopy(source, shared, tmp_path), str(source))
    os.chown(copied, 12345, 12345)
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
