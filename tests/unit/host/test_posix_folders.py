"""Folders on POSIX: replaced, opened, copied; links of root's are followed, others are not."""

import errno
import os
import stat
import sys

import pytest

from sidecar import host
from tests.unit.host.nobody import NOBODY, as_nobody

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)


@pytest.mark.parametrize("before", ["file", "pipe", "loop", "dangling", "link-to-a-file"])
def test_what_is_no_folder_is_removed(tmp_path, before):
    """Nothing is made in its place; whether something went is returned."""
    path = tmp_path / "a" / "b"
    path.parent.mkdir()
    match before:
        case "file":
            path.touch()
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to("nowhere")
        case _:
            (tmp_path / "file").touch()
            path.symlink_to(tmp_path / "file")
    assert host.mend_folder(tmp_path, ("a", "b", "c"), None)
    assert list(path.parent.iterdir()) == []
    assert not host.mend_folder(tmp_path, ("a", "b", "c"), None)


def test_a_folder_that_is_in_order_stays_as_it_is(tmp_path):
    """Also one behind a link of this user's."""
    (tmp_path / "target" / "b").mkdir(parents=True, mode=0o750)
    (tmp_path / "a").symlink_to("target")
    assert not host.mend_folder(tmp_path, ("a", "b"), None)
    assert (tmp_path / "a").is_symlink()
    assert stat.S_IMODE((tmp_path / "target" / "b").stat().st_mode) == 0o750


def test_a_closed_folder_is_opened(tmp_path):
    """For its owner; the rest of its mode stays."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o050)
    assert not host.mend_folder(tmp_path, ("a",), None)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) in (0o750, 0o700)


@pytest.mark.root
def test_a_link_is_kept_once_it_is_root_s(open_path):
    """One of another user goes; anything but a link keeps its owner."""
    (open_path / "target").mkdir()
    for name in ("kept", "lost"):
        (open_path / name).symlink_to("target")
        os.chown(open_path / name, NOBODY.uid, NOBODY.gid, follow_symlinks=False)
    host.keep_link(open_path / "kept")
    host.keep_link(open_path / "missing" / "deep")
    host.keep_link(open_path / "target")
    assert not host.mend_folder(open_path, ("kept",), NOBODY)
    assert host.mend_folder(open_path, ("lost",), NOBODY)
    assert (open_path / "kept").is_symlink()


@pytest.mark.root
def test_a_work_folder_of_root_s_is_given_to_the_user(open_path):
    """A thing that the user put in its place is replaced; a file of root's is an error."""
    host.make_folder(open_path / "a" / "b", NOBODY)
    assert as_nobody("touch file", cwd=open_path / "a" / "b")[0] == 0
    (open_path / "file").touch()
    with pytest.raises(FileExistsError):
        host.make_folder(open_path / "file" / "b", NOBODY)
    os.chown(open_path / "file", NOBODY.uid, -1)
    host.make_folder(open_path / "file" / "b", NOBODY)
    assert (open_path / "file" / "b").stat().st_uid == NOBODY.uid


def test_links_of_links_end(tmp_path):
    """As the kernel says it."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError) as failed:  # noqa: PT011  the number says it
        host.write_new(tmp_path / "loop" / "file", b"", 0o644, None)
    assert failed.value.errno == errno.ELOOP


def test_a_path_with_links_and_dots_leads_where_it_should(tmp_path, monkeypatch):
    """Relative ones as well."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    monkeypatch.chdir(tmp_path)
    path = type(tmp_path)("link/../new")
    host.write_new(path, b"x", 0o644, None)
    assert (tmp_path / "a" / "new").read_bytes() == b"x"


def test_a_copy_has_content_modes_and_links(tmp_path):
    """A folder that is no folder cannot be copied."""
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True, mode=0o700)
    (source / "deep" / "program").write_text("x")
    (source / "deep" / "program").chmod(0o755)
    (source / "to-folder").symlink_to("deep")
    host.copy_folder(source, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert (copy / "deep" / "program").read_text() == "x"
    assert stat.S_IMODE((copy / "deep" / "program").stat().st_mode) == 0o755
    assert stat.S_IMODE((copy / "deep").stat().st_mode) == 0o700
    assert (copy / "to-folder").readlink() == (source / "to-folder").readlink()
    (tmp_path / "link").symlink_to("source")
    with pytest.raises(NotADirectoryError):
        host.copy_folder(tmp_path / "link", tmp_path / "other")


def test_a_file_is_replaced_by_another(tmp_path):
    """Also a folder."""
    for kind in ("nothing", "file", "folder"):
        if kind == "folder":
            (tmp_path / "name").unlink()
            (tmp_path / "name" / "deep").mkdir(parents=True)
        (tmp_path / "new").write_text(kind)
        host.replace_file(tmp_path / "new", "name")
        assert (tmp_path / "name").read_text() == kind
