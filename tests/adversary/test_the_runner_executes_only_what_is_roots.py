"""A job replaces what the next life on the disk executes, or leads root's copy elsewhere.

Without the mend root only looked at who owns the folder `externals` itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil

import pytest

from sidecar import host
from sidecar.docker.folder_copy import FolderCopy
from sidecar.errors import RunnerError
from sidecar.runner import program_protection
from sidecar.runner.folder import RunnerFolder
from tests.adversary.runner_folder import NOBODY, make_runner_folder, run_as_job

pytestmark = pytest.mark.root

NODE = "externals/node20/bin/node"


@pytest.fixture(params=[False, True], ids=["unmended", "mended"])
def mended(request, monkeypatch):
    """Return whether the build has the mend."""
    if not request.param:
        monkeypatch.setattr(program_protection.host, "secure_program", lambda *_args, **_more: [])
        monkeypatch.setattr(program_protection.host, "protect_program", give_by_paths)
    return request.param


def give_by_paths(root, user):
    """Give the program to root as it was done before the mend: through any link."""
    os.chown(root, 0, user.gid)
    root.chmod(0o1775)
    for folder in (root / "bin", root / "externals"):
        if folder.exists() and folder.stat().st_uid != 0:
            for path in (folder, *folder.resolve().rglob("*")):
                os.chown(path, 0, 0)


@pytest.fixture
def folder():
    """Make a folder in which no agent was yet."""
    with make_runner_folder("exit 0\n") as made:
        shutil.rmtree(made.state)
        shutil.rmtree(made.path / "externals", ignore_errors=True)
        yield made


def live(folder):
    """Begin a life in the folder."""
    RunnerFolder(folder.path, folder.user).prepare()


def put_node(folder):
    """Put the image's node in its place."""
    node = folder.path / NODE
    node.parent.mkdir(parents=True)
    node.write_text("#!/bin/sh\necho image\n")
    node.chmod(0o755)
    return node


@pytest.mark.parametrize("owned", ["program", "folder", "mode"])
def test_an_image_s_program_becomes_roots_before_any_job(folder, mended, owned):
    """Also where only a part of `externals` is the runner's: a job cannot replace node."""
    node = put_node(folder)
    if owned == "program":
        os.chown(node, NOBODY.uid, -1)
    elif owned == "folder":
        os.chown(node.parent, NOBODY.uid, -1)
    else:
        node.chmod(0o777)
    live(folder)
    run_as_job(f"rm -f {node}; echo 'echo job' >{node}; chmod 755 {node} 2>/dev/null")
    live(folder)
    assert ("echo image" in node.read_text()) is mended


def test_a_job_cannot_bring_a_node_of_its_own(folder, mended):
    """If the image has no `externals`, there is an empty one of root's."""
    live(folder)
    node = folder.path / NODE
    run_as_job(f"mkdir -p {node.parent} && echo 'echo job' >{node} && chmod 755 {node}")
    live(folder)
    assert node.exists() is not mended
    assert (folder.path / "externals").stat().st_uid == 0


def test_a_link_of_a_job_is_not_followed_by_root(folder, mended):
    """An agent before this one let a job make it: root would give its target's files to root."""
    victim = folder.path.parent / "home" / "victim"
    run_as_job(f"mkdir {victim} && echo x >{victim}/file")
    host.make_private_folder(folder.state)  # an earlier life
    folder.path.chmod(0o1775)
    run_as_job(f"ln -s {victim} {folder.path}/externals")
    live(folder)
    assert ((victim / "file").stat().st_uid == NOBODY.uid) is mended
    assert (folder.path / "externals").is_symlink() is not mended


def copy(folder, shared):
    """Copy externals for containers, as for the first that mounts them; return the copy."""
    source = folder.path / "externals"
    made = FolderCopy(source, shared, shared)
    return asyncio.run(made.provide_copy(str(source)))


@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_root_copies_nothing_that_a_link_leads_to(folder, mended, tmp_path, monkeypatch):
    """A job's containers would read a file that root alone may read."""
    secret = folder.path.parent / "secret"
    secret.mkdir(mode=0o700)
    (secret / "key").write_text("key")
    run_as_job(f"ln -s {secret} {folder.path}/externals")
    if not mended:
        monkeypatch.setattr("sidecar.docker.folder_copy._fingerprint", lambda _folder: "1")
        monkeypatch.setattr(host, "copy_folder", shutil.copytree)
        assert (host.read_regular(tmp_path.joinpath(copy(folder, tmp_path), "key")) or ())[0] == (
            b"key"
        )
        return
    with pytest.raises(PermissionError, match="is a link of another user"):
        copy(folder, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_a_copy_is_named_by_content(folder, mended, tmp_path, monkeypatch):
    """A program of the same size and time is another program: it gets a copy of its own."""
    if not mended:
        monkeypatch.setattr(
            "sidecar.docker.folder_copy._digest",
            lambda path: f"{path.stat().st_size} {int(path.stat().st_mtime)}",
        )
    node = put_node(folder)
    os.utime(node, (1, 1))
    first = copy(folder, tmp_path)
    node.write_text("#!/bin/sh\necho other\n")
    os.utime(node, (1, 1))
    assert (copy(folder, tmp_path) != first) is mended


def test_a_link_of_the_image_is_kept(folder):
    """A user's image may have `bin` or `externals` elsewhere: in the first life they become root's.

    Later lives know them by their owner.
    """
    for name in ("bin", "externals"):
        target = folder.path / f"{name}.2"
        if (folder.path / name).exists():
            (folder.path / name).rename(target)
        else:
            target.mkdir()
        os.chown(target, NOBODY.uid, -1)
        (folder.path / name).symlink_to(target.name)
        os.chown(folder.path / name, NOBODY.uid, -1, follow_symlinks=False)
    for _ in range(2):
        live(folder)
        for name in ("bin", "externals"):
            assert (folder.path / name).lstat().st_uid == 0
            assert (folder.path / f"{name}.2").stat().st_uid == 0
    assert (folder.path / host.LISTENER).exists()


def test_root_does_not_run_a_program_that_jobs_could_change(folder):
    """Jobs of an agent that was not root had its rights: a root agent refuses their `bin/`."""
    host.make_private_folder(folder.state)
    os.chown(folder.path / "bin", NOBODY.uid, -1)
    with pytest.raises(RunnerError, match="lay out the runner anew"):
        live(folder)
    assert (folder.path / host.LISTENER).exists()
