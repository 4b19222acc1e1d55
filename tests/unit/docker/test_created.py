"""The record of what a job creates: in memory, and in a file for the next agent."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from structlog.testing import capture_logs

from sidecar.docker.created import CreatedObject, ObjectRecord, read_objects

ID = "c" * 64


def test_the_file_outlives_the_process(tmp_path):
    """A record reads what an earlier one wrote, and adds to it."""
    path = tmp_path / "created"
    ObjectRecord(path).add("container", ID)
    later = ObjectRecord(path)
    assert later.load() == [CreatedObject("container", ID)]
    later.add("network", "d" * 64)
    assert [one.id for one in read_objects(path)] == [ID, "d" * 64]
    assert path.stat().st_mode & 0o777 == 0o600
    later.delete()
    later.delete()
    assert not path.exists()
    assert later.objects == []


def test_an_object_is_recorded_once(tmp_path):
    """A volume that several containers mount, say."""
    record = ObjectRecord(tmp_path / "created")
    for _ in range(3):
        record.add("volume", "data", since=1.5)
    (one,) = read_objects(tmp_path / "created")
    assert (one.id, one.since) == ("data", 1)
    assert one.until >= one.since


def test_a_volume_that_is_made_again_is_recorded_with_its_new_time(tmp_path):
    """A job that removes a volume and makes it again leaves the second one."""
    path = tmp_path / "created"
    record = ObjectRecord(path)
    record.add("volume", "data", since=1.0)
    record.add("volume", "data", since=9.0)
    assert [one.since for one in record.objects] == [9]
    later = ObjectRecord(path)
    later.load()
    assert [one.since for one in later.objects] == [9]


@pytest.mark.parametrize("id_", [None, 1, "", "../x", "x y", "A" * 64, "-x"])
def test_only_an_engine_s_ids_are_recorded(tmp_path, id_):
    """Whatever stands in their place would be part of a path later."""
    record = ObjectRecord(tmp_path / "created")
    record.add("container", id_)
    assert record.objects == []


def test_the_file_reaches_the_disk_and_no_client_waits_for_it(tmp_path, monkeypatch):
    """What comes while one is written to the disk is written after it."""

    async def scenario():
        begun, go_on, synced = asyncio.Event(), threading.Event(), []
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def sync(_):
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(10)
            synced.append(len(read_objects(tmp_path / "created")))
            if len(synced) == 2:
                loop.call_soon_threadsafe(done.set)

        monkeypatch.setattr(os, "fsync", sync)
        record = ObjectRecord(tmp_path / "created")
        record.add("container", ID)
        await begun.wait()
        for number in range(1, 4):
            record.add("container", f"{number}" * 64)
        assert len(read_objects(tmp_path / "created")) == 4
        go_on.set()
        await done.wait()
        assert synced == [4, 4]

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    """So is everything else that is no record."""
    path = tmp_path / "created"
    path.write_text(
        f'["container", "{ID}", 0, 0]\n["volume", "../x", 0, 0]\n["image", "x", 0, 0]\n'
        '[]\n{}\n["network", "dd'
    )
    assert read_objects(path) == [CreatedObject("container", ID)]


def test_a_file_of_another_user_is_not_believed(tmp_path):
    """A job could name another task's containers. Nor is a link followed."""
    path = tmp_path / "created"
    (tmp_path / "other").write_text(f'["container", "{ID}", 0, 0]\n')
    path.symlink_to("other")
    assert read_objects(path) == []
    path.unlink()
    assert read_objects(path) == []
    if os.geteuid() == 0:
        os.chown(tmp_path / "other", 12345, 12345)
        assert read_objects(tmp_path / "other") == []


def test_a_link_in_its_place_is_replaced(tmp_path):
    """A job may write into the runner's folder: nothing is written where it leads."""
    (tmp_path / "other").touch()
    (tmp_path / "created").symlink_to("other")
    ObjectRecord(tmp_path / "created").add("container", ID)
    assert (tmp_path / "other").read_bytes() == b""
    assert [one.id for one in read_objects(tmp_path / "created")] == [ID]


def test_a_full_disk_is_logged(tmp_path):
    """The objects are still removed when the life ends."""
    record = ObjectRecord(tmp_path / "missing" / "created")
    with capture_logs() as logs:
        record.add("container", ID)
    assert [event["event"] for event in logs] == ["docker.record_failed"]
    assert [one.id for one in record.objects] == [ID]
