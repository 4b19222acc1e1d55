"""Files and folders on POSIX."""

import os
import stat
import sys

import pytest

from sidecar import host
from tests.unit.host.nobody import NOBODY, as_nobody

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)


@pytest.mark.parametrize("before", ["nothing", "file", "folder", "link", "dangling"])
def test_a_private_folder_is_empty_and_readable(tmp_path, before):
    """Whatever was there before; a link is removed, not followed; the umask does not matter."""
    path = tmp_path / "state"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    match before:
        case "file":
            path.write_text("x")
        case "folder":
            (path / "deep").mkdir(parents=True)
        case "link":
            path.symlink_to(elsewhere)
        case "dangling":
            path.symlink_to(tmp_path / "nowhere")
    umask = os.umask(0o077)
    try:
        host.make_private_folder(path)
    finally:
        os.umask(umask)
    assert not path.is_symlink()
    assert list(path.iterdir()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("before", ["nothing", "file", "link"])
def test_a_new_file_replaces_an_old_one(tmp_path, before):
    """Content and mode are as asked for; a link's target is not written to."""
    path, target = tmp_path / "file", tmp_path / "target"
    target.write_text("kept")
    if before == "file":
        path.write_text("old")
    elif before == "link":
        path.symlink_to(target)
    umask = os.umask(0o077)
    try:
        host.write_new(path, b"new", 0o755, None)
    finally:
        os.umask(umask)
    assert host.read_regular(path) == (b"new", 0o755)
    assert target.read_text() == "kept"


def test_only_a_regular_file_is_read(tmp_path):
    """Not a link, a folder, or a FIFO, which would block for ever."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    assert host.read_regular(tmp_path / "file")[0] == b"x"
    for name in ("link", "fifo", "missing"):
        assert host.read_regular(tmp_path / name) is None
    assert host.read_regular(tmp_path / "folder") is None


@pytest.mark.root
def test_the_runner_s_user_may_write_beside_bin_and_not_into_it(open_path):
    """It can make its own files, but neither replace nor change `bin`, whoever owned that."""
    root = open_path / "runner"
    (root / "bin" / "deep").mkdir(parents=True)
    (root / "bin" / "Runner.Listener").write_text("program")
    (root / "bin" / "deep" / "library").write_text("code")
    (root / "bin" / "link").symlink_to("deep/library")
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY.uid, NOBODY.gid, follow_symlinks=False)
    host.protect_program(root, NOBODY)
    host.protect_program(root, NOBODY)  # a second call changes nothing

    assert stat.S_IMODE(root.stat().st_mode) == 0o1775
    assert {path.lstat().st_uid for path in (root / "bin", *(root / "bin").rglob("*"))} == {0}
    assert (
        as_nobody("echo x >.runner && mkdir _work && rm .runner && rmdir _work", cwd=root)[0] == 0
    )
    for forbidden in (
        "mv bin bin.old",
        "rm -r bin",
        "echo x >bin/Runner.Listener",
        "rm -f bin/Runner.Listener",
        "echo x >bin/deep/library",
        "ln -sfn /tmp bin/link",
        "touch bin/new",
    ):
        code, error = as_nobody(forbidden, cwd=root)
        assert code != 0, forbidden
        assert "denied" in error or "not permitted" in error


@pytest.mark.root
def test_a_new_file_is_the_user_s(tmp_path):
    """The runner's user can replace it."""
    host.write_new(tmp_path / "file", b"x", 0o600, NOBODY)
    found = (tmp_path / "file").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (
        NOBODY.uid,
        NOBODY.gid,
        0o600,
    )
