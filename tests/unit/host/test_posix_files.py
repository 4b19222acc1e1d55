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
def test_no_user_can_change_externals_after_the_first_life(open_path):
    """Jobs of a later life run what is in there. A tree that is root's is not looked at again."""
    root = open_path / "runner"
    node = root / "externals" / "node" / "bin"
    node.mkdir(parents=True)
    (root / "bin").mkdir()
    (node / "node").write_text("program")
    for path in (root / "externals", *(root / "externals").rglob("*")):
        os.chown(path, NOBODY.uid, NOBODY.gid)
    host.protect_program(root, NOBODY)
    assert as_nobody("echo x >externals/node/bin/node", cwd=root)[0] != 0
    os.chown(node, NOBODY.uid, NOBODY.gid)
    host.protect_program(root, NOBODY)
    assert node.stat().st_uid == NOBODY.uid


@pytest.mark.root
def test_a_fresh_folder_is_the_user_s_alone(open_path):
    """Its name is new each time; the folders in it are the user's too."""
    first, second = (host.make_fresh_folder(open_path, ("a", "b"), NOBODY) for _ in range(2))
    assert first != second
    for path in (first, first / "a", first / "b"):
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (NOBODY.uid, 0o700)
    assert as_nobody("touch a/x b/x", cwd=first)[0] == 0


@pytest.mark.parametrize("before", ["nothing", "file", "link", "folder"])
def test_an_entry_is_removed_whatever_it_is(tmp_path, before):
    """A link's target stays; whether there was something is returned."""
    path, target = tmp_path / "entry", tmp_path / "target"
    (target / "kept").mkdir(parents=True)
    if before == "file":
        path.write_text("x")
    elif before == "link":
        path.symlink_to(target)
    elif before == "folder":
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "link").symlink_to(target)
    assert host.remove_entry(path) is (before != "nothing")
    assert not os.path.lexists(path)
    assert (target / "kept").exists()


@pytest.mark.parametrize(
    ("entry", "kind", "left"),
    [
        ("a/b/c", "folder", ["a", "a/b"]),
        ("a/b/c", "link", ["a", "a/b"]),
        ("a/b/c", "file", ["a", "a/b"]),
        ("a/b", "link", ["a"]),
        ("a/b", "file", ["a"]),
        ("a", "link", []),
        ("a/x", "folder", ["a", "a/x"]),
        ("x", "folder", ["x"]),
    ],
)
def test_what_is_below_a_folder_is_removed_without_following_links(tmp_path, entry, kind, left):
    """A link or a file on the way is removed instead; what is missing is no error."""
    folder, target = tmp_path / "folder", tmp_path / "target"
    (target / "b" / "c").mkdir(parents=True)
    path = folder / entry
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to(target)
    host.remove_below(folder, ("a", "b", "c"))
    assert sorted(str(found.relative_to(folder)) for found in folder.rglob("*")) == left
    assert (target / "b" / "c").exists()


def test_nothing_is_below_a_missing_folder(tmp_path):
    """Nor below a file."""
    (tmp_path / "file").touch()
    host.remove_below(tmp_path / "missing", ("a",))
    host.remove_below(tmp_path / "file", ("a",))


def test_a_folder_that_may_not_be_entered_is_an_error(tmp_path, monkeypatch):
    """Only a link and a file on the way are removed."""
    (tmp_path / "a").mkdir()
    opened = os.open

    def refuse(path, flags, **more):
        if path == "a":
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        host.remove_below(tmp_path, ("a", "b"))
    assert (tmp_path / "a").exists()


@pytest.mark.parametrize("before", ["nothing", "file", "link", "folder"])
def test_a_folder_is_made_below_another(tmp_path, before):
    """A link or a file there is replaced, a folder stays as it is."""
    path, target = tmp_path / "folder", tmp_path / "target"
    target.mkdir()
    if before == "file":
        path.touch()
    elif before == "link":
        path.symlink_to(target)
    elif before == "folder":
        (path / "kept").mkdir(parents=True)
    host.make_folder_below(tmp_path, "folder", None)
    assert path.is_dir()
    assert not path.is_symlink()
    assert (path / "kept").exists() == (before == "folder")
    assert target.exists()


def test_a_file_of_ours_is_protected_if_nobody_else_may_write_it(tmp_path):
    """A link is not, nor a folder."""
    file = tmp_path / "file"
    assert not host.is_protected(file)
    file.touch()
    for mode, protected in ((0o644, True), (0o664, False), (0o646, False)):
        file.chmod(mode)
        assert host.is_protected(file) is protected
    file.chmod(0o644)
    (tmp_path / "link").symlink_to(file)
    assert not host.is_protected(tmp_path / "link")
    assert not host.is_protected(tmp_path)


def test_a_folder_of_ours_is_no_link(tmp_path):
    """Nor a file, nor a missing one."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    assert host.is_own_folder(tmp_path)
    assert not any(host.is_own_folder(tmp_path / name) for name in ("link", "file", "missing"))


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
