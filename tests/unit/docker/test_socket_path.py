"""The folder with the proxy's socket is made, removed, and removed for killed agents."""

from __future__ import annotations

import asyncio
import os

from structlog.testing import capture_logs

from sidecar import host
from sidecar.docker.engine import EngineError
from sidecar.docker.socket_path import DefaultSocket, SharedSocket


def remove_leftovers(place, remove_objects=None):
    """Remove what killed agents left; return the records whose objects were to be removed."""
    asked = []

    async def remove(path):
        asked.append(path)
        if remove_objects is not None:
            remove_objects(path)

    asyncio.run(place.remove_leftovers(remove))
    return asked


def test_only_the_folder_of_a_killed_agent_is_removed(tmp_path):
    """It is known by its lock, which the system releases when the process ends."""
    killed, running, next_ = SharedSocket(tmp_path), SharedSocket(tmp_path), SharedSocket(tmp_path)
    for place in (killed, running):
        place.make()
        (place.path / "_work").mkdir()
    killed._lock.close()
    next_.make()
    assert remove_leftovers(next_) == [killed.record]
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
        remove_leftovers(SharedSocket(tmp_path))
    assert sorted(removed) == ["runner-1", "runner-2"]
    assert [event["reason"] for event in logs] == ["directory not empty"] * 2


def fail_to_remove(path):
    """Act as an engine that is away."""
    raise EngineError(f"{path.name}: the engine is away")


def test_a_folder_stays_while_its_job_s_objects_do(tmp_path):
    """Its record is all that names them; a later agent tries again."""
    killed, next_ = SharedSocket(tmp_path), SharedSocket(tmp_path)
    killed.make()
    killed._lock.close()
    with capture_logs() as logs:
        remove_leftovers(next_, fail_to_remove)
    assert [event["event"] for event in logs] == ["docker.leftovers_failed"]
    assert killed.path.is_dir()
    remove_leftovers(next_)
    assert not killed.path.exists()


def test_a_record_that_is_not_done_stays_when_a_life_ends(tmp_path):
    """Everything else in the folder is removed, and a later agent gets the lock."""
    place = SharedSocket(tmp_path)
    place.make()
    (place.path / "_work" / "deep").mkdir(parents=True)
    place.record.write_text("[]")
    place.socket.touch()
    place.remove()
    assert sorted(entry.name for entry in place.path.iterdir()) == ["created", "lock"]
    assert remove_leftovers(SharedSocket(tmp_path)) == [place.record]
    assert list(tmp_path.iterdir()) == []


def test_at_the_default_path_a_failure_is_logged(tmp_path):
    """The life goes on: its own end tries again."""
    place = DefaultSocket(tmp_path / "docker.sock", tmp_path / "record")
    with capture_logs() as logs:
        assert remove_leftovers(place, fail_to_remove) == [tmp_path / "record"]
    assert "the engine is away" in logs[0]["reason"]


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
    assert remove_leftovers(place) == []
    assert sorted(tmp_path.iterdir()) == before


def test_a_lock_is_one_process_s(tmp_path):
    """It is free again after it is closed."""
    first = host.lock_file(tmp_path / "lock")
    assert host.lock_file(tmp_path / "lock") is None
    first.close()
    again = host.lock_file(tmp_path / "lock")
    assert again is not None
    again.close()
