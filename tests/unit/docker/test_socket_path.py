"""The folder with the proxy's socket is made, removed, and removed for killed agents."""

from __future__ import annotations

import os

from structlog.testing import capture_logs

from sidecar import host
from sidecar.docker.socket_path import SharedSocket


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


def test_a_lock_is_one_process_s(tmp_path):
    """It is free again after it is closed."""
    first = host.lock_file(tmp_path / "lock")
    assert host.lock_file(tmp_path / "lock") is None
    first.close()
    again = host.lock_file(tmp_path / "lock")
    assert again is not None
    again.close()
