"""Files and folders on Windows: read-only ones, links, and who may use them."""

import os
import stat
import sys
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows (make test-windows)", allow_module_level=True)

import _winapi

from sidecar import host
from sidecar.host.win32 import access, removal
from tests.support.windows import IS_WINE


@pytest.fixture
def tree(tmp_path):
    """Make a folder as git leaves it: its objects are read-only."""
    folder = tmp_path / "work"
    (folder / ".git" / "objects").mkdir(parents=True)
    for name in ("config", "objects/pack"):
        path = folder / ".git" / name
        path.write_bytes(b"x")
        path.chmod(stat.S_IREAD)
    return folder


@pytest.fixture
def linked(tmp_path):
    """Make a folder that must survive, and a junction to it: a link that needs no privilege."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").write_text("kept")
    link = tmp_path / "link"
    try:
        _winapi.CreateJunction(str(target), str(link))
    except OSError as error:
        pytest.skip(f"no junction can be made here: {error}")
    yield target, link
    assert (target / "kept").read_text() == "kept"


@pytest.mark.parametrize(
    "remove",
    [
        host.remove_folder,
        host.remove_entry,
        host.make_private_folder,
        lambda path: host.remove_below(path.parent, (path.name,)),
    ],
    ids=["remove_folder", "remove_entry", "make_private_folder", "remove_below"],
)
def test_a_read_only_tree_is_removed(tree, remove):
    """A workspace with a clone in it, say."""
    remove(tree)
    assert not (tree / ".git").exists()


def test_a_read_only_file_is_removed_and_replaced(tmp_path):
    """A job may have made it so."""
    path = tmp_path / "file"
    for _ in range(2):
        host.write_new(path, b"new", 0o644, None)
        path.chmod(stat.S_IREAD)
    assert path.read_bytes() == b"new"
    assert host.remove_entry(path)
    assert not host.remove_entry(path)


def test_what_is_still_in_use_is_tried_again(tree, monkeypatch):
    """A killed process keeps its files for a moment."""
    file = (tree / "log").open("wb")
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        file.close()

    monkeypatch.setattr(removal.time, "sleep", pause)
    host.remove_folder(tree)
    assert len(pauses) == 1
    assert not tree.exists()


def test_what_stays_in_use_is_an_error(tree, monkeypatch):
    """After some tries; the cleanup step then says so."""
    pauses = []
    monkeypatch.setattr(removal.time, "sleep", pauses.append)
    with (tree / "log").open("wb"), pytest.raises(PermissionError):
        host.remove_folder(tree)
    assert 0 < sum(pauses) < 1


def test_a_link_is_removed_and_not_followed(linked):
    """Neither where it stands, nor on the way to another, nor within a folder."""
    target, link = linked
    host.remove_below(link.parent, ("link", "kept"))
    assert not link.exists()
    _winapi.CreateJunction(str(target), str(link))
    assert host.remove_entry(link)
    assert not os.path.lexists(link)
    folder = target.parent / "folder"
    folder.mkdir()
    _winapi.CreateJunction(str(target), str(folder / "link"))
    host.remove_folder(folder)
    assert not folder.exists()


def test_a_secret_file_is_for_this_user_and_the_system_alone(tmp_path):
    """From its first moment, whatever its folder allows; any other file is as its folder says."""
    secret, plain = tmp_path / "secret", tmp_path / "plain"
    host.write_new(secret, b"key", 0o600, None)
    host.write_new(plain, b"text", 0o644, None)
    users = sorted(entry.split(";")[5] for entry in access.read_access(secret).split(")")[:-1])
    assert len(users) == 2
    assert access.SYSTEM in users
    assert access.is_private(secret)
    assert secret.read_bytes() == b"key"
    assert host.read_regular(secret) == (b"key", 0o600)
    assert host.read_regular(plain)[0] == b"text"
    if IS_WINE:  # elsewhere the folder of tests may itself be for this user alone
        assert "WD" in access.read_access(plain)  # everyone
        assert host.read_regular(plain)[1] == 0o644


def test_a_fresh_folder_is_for_this_user_and_the_system_alone(tmp_path):
    """The homes of the runner's programs, which get a token."""
    folder = host.make_fresh_folder(tmp_path, ("one", "two"), None)
    assert access.is_private(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["one", "two"]
    assert folder != host.make_fresh_folder(tmp_path, (), None)


def test_a_new_file_is_not_made_where_one_is(tmp_path):
    """Nobody's open handle to an older file reads the new content."""
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileExistsError):
        access.create_private_file(path)
    with pytest.raises(FileExistsError):
        access.create_private_folder(path)


def test_a_regular_file_is_read_and_a_link_is_not(tmp_path, linked):
    """Nor is a folder."""
    target, link = linked
    assert host.read_regular(target / "kept")[0] == b"kept"
    assert host.read_regular(link) is None
    assert host.read_regular(tmp_path) is None
    assert host.read_regular(Path(tmp_path / "missing")) is None
    with pytest.raises(OSError, match="is a link"):
        host.read_below(tmp_path, ("link", "kept"), 100)


def test_what_is_no_folder_is_removed(tmp_path):
    """A folder stays; whether something went is returned."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    assert host.mend_folder(tmp_path, ("a", "b"), None)
    assert not host.mend_folder(tmp_path, ("a", "b"), None)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_is_replaced_by_another_and_a_folder_too(tmp_path):
    """As on POSIX."""
    for kind in ("nothing", "file", "folder"):
        if kind == "folder":
            (tmp_path / "name").unlink()
            (tmp_path / "name" / "deep").mkdir(parents=True)
        (tmp_path / "new").write_text(kind)
        host.replace_file(tmp_path / "new", "name")
        assert (tmp_path / "name").read_text() == kind
    host.write_new(tmp_path / "name", b"x", 0o644, None)
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    host.write_new(tmp_path / "folder", b"x", 0o644, None)
    assert host.read_regular(tmp_path / "folder", 1)[0] == b"x"
    assert host.read_regular(tmp_path / "folder", 0) is None


def test_lines_are_appended(tmp_path):
    """To what is there."""
    (tmp_path / "file").write_bytes(b"a")
    descriptor = host.open_to_append(tmp_path / "file")
    os.write(descriptor, b"b\n")
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"ab\n"


def test_a_folder_is_copied(tmp_path):
    """With all that is in it."""
    (tmp_path / "source" / "deep").mkdir(parents=True)
    (tmp_path / "source" / "deep" / "file").write_text("x")
    host.copy_folder(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy" / "deep" / "file").read_text() == "x"
