"""The runner's program in a second place, which only root can enter."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from sidecar import host


@pytest.fixture
def root(tmp_path):
    """Make a runner's folder with a program of some files."""
    (tmp_path / "bin" / "lib").mkdir(parents=True)
    (tmp_path / "bin" / "program").write_text("program")
    (tmp_path / "bin" / "lib" / "part").write_text("part")
    (tmp_path / "bin" / "link").symlink_to("program")
    return tmp_path


@pytest.fixture
def provide(root):
    """Provide the private program; return how, after a look at it."""
    private = root / "private"

    def provide():
        how = host.provide_private_program(root, private)
        assert private.stat().st_mode & 0o777 == 0o700
        names = sorted(str(path.relative_to(private)) for path in private.rglob("*"))
        assert names == ["bin", "bin/lib", "bin/lib/part", "bin/link", "bin/program"]
        assert (private / "bin" / "program").read_text() == (root / "bin/program").read_text()
        return how

    provide.folder = private
    return provide


def test_it_is_linked_once(root, provide):
    """Links take no room; the second call finds them, as it finds those that an image has."""
    assert provide() == "linked"
    assert (provide.folder / "bin/program").samefile(root / "bin/program")
    assert provide() == "found"


def test_another_version_of_the_program_replaces_it(root, provide):
    """An image on top of ours may bring a newer program in `bin/` alone."""
    provide()
    (root / "bin/program").unlink()
    (root / "bin/program").write_text("newer")
    assert provide() == "linked"


def test_a_file_more_or_less_is_another_program(root, provide):
    """Nothing may be added to the private one, nor be missing."""
    provide()
    (provide.folder / "bin" / "more").write_text("more")
    assert provide() == "linked"
    (provide.folder / "bin" / "program").unlink()
    assert provide() == "linked"


@pytest.mark.parametrize("kind", ["file", "link", "open"])
def test_what_stands_in_its_place_is_replaced(root, provide, kind, tmp_path):
    """Also a folder of ours that others may enter."""
    if kind == "file":
        provide.folder.write_text("x")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        provide.folder.symlink_to(tmp_path / "elsewhere")
    else:
        provide.folder.mkdir(mode=0o755)
    assert provide() == "linked"
    assert kind != "link" or list((tmp_path / "elsewhere").iterdir()) == []


def test_where_links_are_impossible_it_is_copied(root, provide, monkeypatch):
    """A copy takes 81 MB of the real program, and is as good; it is made anew for each call."""

    def link(*_args, **_kwargs):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    assert provide() == "copied"
    assert provide() == "copied"


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev,  # noqa: S108
    reason="needs another file system at /dev/shm",
)
def test_a_program_on_another_file_system_is_copied(root, provide):
    """As when `bin` is a link to a mounted folder."""
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        shutil.move(root / "bin", elsewhere / "bin")
        (root / "bin").symlink_to(elsewhere / "bin")
        assert provide() == "copied"
    finally:
        shutil.rmtree(elsewhere)
