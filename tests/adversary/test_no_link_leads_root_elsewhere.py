"""Hold: root makes, gives away, copies and removes nothing through a link that a job made."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from sidecar import host
from sidecar.host.posix import paths
from sidecar.runner import homes
from tests.adversary.attackers import BY_PATHS, LEFT_IN_PLACE, run_as_job, start_agent
from tests.lives.stage import OTHER_USER, open_stage, run_side_by_side

pytestmark = pytest.mark.root

SWAP = "cd {root} && mv _work was-{name} && ln -s {outside} _work"


def test_a_job_that_replaces_its_work_folder_gains_nothing(aws):
    """A link to another folder stands on the way to the life's own one.

    Unmended, root removes what has the runner's name in that other folder, and in the next life
    makes a folder there that is the job's.
    """

    async def play():
        async with open_stage(aws) as stage:
            root, outside = stage.runner_folder, stage.folder / "outside"
            (outside / "one").mkdir(parents=True)
            (outside / "one" / "kept").touch()

            def choose(name):
                return {"SIDECAR_WORK_DIR": f"{root}/_work/{{name}}", "SIDECAR_NAME": name}

            unmended = start_agent(BY_PATHS + LEFT_IN_PLACE)
            await stage.put()
            async with stage.life(unmended, env=choose("one")) as life:
                await life.wait_for_phase("idle")
                # The agent made _work as root; a job has it where an earlier life or the runner
                # did.
                os.chown(root / "_work", host.find_user(OTHER_USER).uid, -1)
                assert run_as_job(SWAP.format(root=root, name="one", outside=outside), root) == 0
                life.signal()
                await life.wait_for_end()
            assert not (outside / "one").exists(), "the attack does nothing"

            await stage.put()
            async with stage.life(unmended, env=choose("two")) as life:
                await life.wait_for_phase("idle")
                made = (outside / "two").stat().st_uid
                assert made == host.find_user(OTHER_USER).uid, "the attack does nothing"
                life.signal()
                await life.wait_for_end()

            await stage.put()
            async with stage.life(env=choose("four")) as life:
                await life.wait_for_phase("idle")
                assert not (outside / "four").exists()
                assert (root / "_work" / "four").is_dir()
                os.chown(root / "_work", host.find_user(OTHER_USER).uid, -1)
                (outside / "four").mkdir()
                (outside / "four" / "kept").touch()
                assert run_as_job(SWAP.format(root=root, name="four", outside=outside), root) == 0
                life.signal()
                await stage.check_end(life, 0)
            assert (outside / "four" / "kept").exists()

    run_side_by_side(play())


def make_owned(base):
    """Make a folder of the job's with a link in it to one of root's; return both, and the user."""
    user = host.find_user(OTHER_USER)
    job, target = base / "job", base / "target"
    (target / "deep").mkdir(parents=True)
    (target / "deep" / "kept").write_text("secret")
    (base / "source").mkdir()
    job.mkdir()
    os.chown(job, user.uid, user.gid)
    assert run_as_job(f"ln -s {target} link", job) == 0
    return job, target, user


@pytest.fixture
def owned(open_path):
    """Give what `make_owned` makes."""
    return make_owned(open_path)


WORK = {
    "write": lambda path, user: host.write_new(path / "deep" / "new", b"", 0o644, user),
    "append": lambda path, _: host.open_to_append(path / "deep" / "kept"),
    "replace": lambda path, _: host.replace_file(path / "deep" / "kept", "moved"),
    "lock": lambda path, _: host.lock_file(path / "deep" / "lock"),
    "private-folder": lambda path, _: host.make_private_folder(path / "deep"),
    "fresh-folder": lambda path, user: host.make_fresh_folder(path / "deep", ("a",), user),
    "folder-below": lambda path, user: host.make_folder_below(path / "deep", "new", user),
    "program": lambda path, user: host.protect_program(path / "deep", user),
    "copy-from": lambda path, _: host.copy_folder(path / "deep", path.parent.parent / "copy"),
    "copy-to": lambda path, _: host.copy_folder(path.parent.parent / "source", path / "copy"),
    "listen": lambda path, user: host.listen_at(path / "deep" / "socket", user, 1),
    "read": lambda path, _: host.read_below(path, ("deep", "kept"), 100),
}


def follow(path, mend=None):
    """Open a folder as it was done before: by its whole path."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY)


@pytest.mark.parametrize("work", WORK)
def test_file_work_through_a_job_s_link_is_refused(open_path, monkeypatch, work):
    """Every kind of work below a link in a job's folder; unmended, root does it elsewhere."""
    job, target, user = make_owned(open_path / "unmended")
    before = look(target.parent)
    with monkeypatch.context() as unmended:
        unmended.setattr(paths, "open_folder", follow)
        with suppress(FileNotFoundError):  # there is no bin/
            done = WORK[work](job / "link", user)
            if isinstance(done, int):
                os.close(done)
            elif hasattr(done, "close"):
                done.close()
    assert look(target.parent) != before or done, "the attack does nothing"

    job, target, user = make_owned(open_path / "mended")
    before = look(target.parent)
    with pytest.raises(OSError, match="link that a job may have made"):
        WORK[work](job / "link", user)
    assert look(target.parent) == before


def look(folder):
    """Return what is in a folder, and whose it is."""
    paths = (folder, *sorted(folder.rglob("*")))
    return [(str(path), path.lstat().st_uid, path.lstat().st_gid) for path in paths]


def test_the_same_work_is_done_where_the_link_is_root_s(owned):
    """An image may have one, in a folder of root's."""
    job, target, user = owned
    link = job.parent / "link"
    link.symlink_to(target)
    host.write_new(link / "deep" / "new", b"x", 0o644, user)
    host.make_folder(link / "work", user)
    assert (target / "deep" / "new").read_text() == "x"
    assert (target / "work").stat().st_uid == user.uid
    host.remove_folder(link / "work")
    assert not (target / "work").exists()
    assert link.is_symlink()


def test_a_link_of_root_s_that_a_job_moved_is_not_followed(owned):
    """The folder that holds it must be root's too."""
    job, target, user = owned
    (job / "roots").symlink_to(target)
    with pytest.raises(OSError, match="link that a job may have made"):
        host.write_new(job / "roots" / "new", b"x", 0o644, user)


def test_a_removal_takes_a_job_s_link_itself(owned):
    """All that it leads to stays; the next work on the path does not meet it any more."""
    job, target, _ = owned
    host.remove_folder(job / "link" / "deep")
    assert (target / "deep" / "kept").exists()
    assert not os.path.lexists(job / "link")
    host.remove_folder(job / "link" / "deep")


def test_a_folder_is_made_in_place_of_a_job_s_link(owned):
    """And is the job's; unmended, one appears in root's folder."""
    job, target, user = owned
    path = job / "link" / "new"
    path.mkdir()
    assert (target / "new").exists(), "the attack does nothing"
    (target / "new").rmdir()
    host.make_folder(path, user)
    assert not (target / "new").exists()
    assert path.stat().st_uid == user.uid
    assert not (job / "link").is_symlink()


def test_a_home_below_a_job_s_link_is_left_alone(owned):
    """XDG_CONFIG_HOME may lie deeper than the home, in a folder that a job replaced."""
    job, target, user = owned
    (target / "conf" / "GitHub" / "ActionsService").mkdir(parents=True)
    before = look(target)
    with pytest.raises(OSError, match="link that a job may have made"):
        homes.clean_home({"XDG_CONFIG_HOME": f"{job}/link/conf"}, user)
    assert look(target) == before


def test_a_second_name_of_a_file_is_not_copied(owned):
    """A job may give a name of its own to a file that it must not read."""
    job, _, user = owned
    (job / "tree").mkdir()
    (job / "secret").write_text("secret")
    os.chown(job / "secret", 12345, -1)
    os.link(job / "secret", job / "tree" / "name")
    with pytest.raises(OSError, match="regular file of one name"):
        host.copy_folder(job / "tree", job.parent / "copy")
    del user
