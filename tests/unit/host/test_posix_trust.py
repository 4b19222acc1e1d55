"""Only what root alone can change is root's: each folder and link on the way counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar import host
from tests.unit.host.nobody import NOBODY

pytestmark = pytest.mark.root


@pytest.fixture
def file(tmp_path):
    """Make a file of root's in a folder of root's."""
    path = tmp_path / "folder" / "file"
    path.parent.mkdir(mode=0o755)
    path.write_text("content")
    path.chmod(0o644)
    return path


def test_a_file_in_folders_of_roots_is_roots(file):
    """Sticky folders on the way are no harm: others cannot rename there what is root's."""
    assert host.is_file_of_root(file)
    file.parent.chmod(0o1777)
    assert host.is_file_of_root(file)
    assert not host.is_file_of_root(file.parent)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_is_not(file, mode):
    """Neither by its group nor by everybody."""
    file.chmod(mode)
    assert not host.is_file_of_root(file)


@pytest.mark.parametrize("above", [False, True])
def test_a_file_or_folder_of_another_user_is_not(file, above):
    """Its owner can change it, or put another one in its place."""
    os.chown(file.parent if above else file, NOBODY.uid, -1)
    assert not host.is_file_of_root(file)


def test_a_folder_that_others_may_write_is_not(file):
    """They can rename the file, and make another one of its name."""
    file.parent.chmod(0o777)
    assert not host.is_file_of_root(file)


def test_what_is_missing_or_special_is_not(file):
    """Others may make it; a device is no settings."""
    assert not host.is_file_of_root(file.with_name("missing"))
    assert not host.is_file_of_root(file / "below")
    assert not host.is_file_of_root(Path(os.devnull))


def test_links_of_roots_are_followed(file, tmp_path):
    """Relative and absolute ones, and steps up."""
    (tmp_path / "folders").symlink_to("folder")
    (tmp_path / "linked").symlink_to(tmp_path / "folders" / ".." / "folders" / "file")
    assert host.is_file_of_root(tmp_path / "linked")


def test_links_of_others_are_not(file, tmp_path):
    """Their owner can make them lead elsewhere; also one in the middle of others."""
    middle = file.parent / "middle"
    middle.symlink_to(file)
    os.chown(middle, NOBODY.uid, -1, follow_symlinks=False)
    (tmp_path / "linked").symlink_to(middle)
    assert not host.is_file_of_root(middle)
    assert not host.is_file_of_root(tmp_path / "linked")


def test_a_circle_of_links_is_not(tmp_path):
    """It has an end all the same."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert not host.is_file_of_root(tmp_path / "one")


@pytest.mark.parametrize(("mode", "expected"), [(0o755, True), (0o1777, False), (0o775, False)])
def test_a_folder_is_roots_if_nobody_else_can_add_to_it(tmp_path, mode, expected):
    """A sticky folder keeps its entries, but others may add programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    folder.chmod(mode)
    assert host.is_folder_of_root(folder) is expected


def test_a_link_below_a_folder_is_found(tmp_path):
    """A link is found at any step, of any owner; a missing step is none, nor is a file."""
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "one" / "file").touch()
    (tmp_path / "one" / "link").symlink_to("two")
    (tmp_path / "one" / "two" / "broken").symlink_to("/nowhere")

    def find(path):
        return host.find_link_below(tmp_path, path.split("/"))

    assert find("one/two") is None
    assert find("one/file") is None
    assert find("one/file/below") is None
    assert find("one/missing/link") is None
    assert find("one/link") == "link"
    assert find("one/link/below") == "link"
    assert find("one/two/broken") == "broken"


def test_a_folder_that_cannot_be_opened_is_an_error(tmp_path):
    """It may be another folder by the time that the engine looks."""
    with pytest.raises(OSError, match="missing"):
        host.find_link_below(tmp_path / "missing", ["x"])
