"""Users on POSIX."""

import getpass
import os
import pwd
import sys

import pytest

from sidecar import host

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

import grp

from sidecar.host import posix_users


def test_users_are_found_by_name(monkeypatch):
    """With all their groups; None where there is no such user."""
    own = pwd.getpwuid(os.geteuid())
    found = host.find_user(own.pw_name)
    assert (found.uid, found.gid, found.home) == (own.pw_uid, own.pw_gid, own.pw_dir)
    assert own.pw_gid in found.groups
    assert host.find_user("no-such-user") is None
    assert host.agent_user_name() == getpass.getuser()
    assert host.is_root() == (os.geteuid() == 0)

    monkeypatch.setattr(posix_users.os, "geteuid", lambda: 4_000_000_000)
    assert host.agent_user_name() == "4000000000"


# --- what a user may read, and which groups it is in ----------------------------------------------

OTHER = host.User("other", 12345, 12345, (12345, 23456), "/nowhere")


@pytest.mark.parametrize(
    ("mode", "readable"), [(0o644, True), (0o640, False), (0o600, False), (0o004, True)]
)
def test_a_file_is_read_by_its_mode(open_path, mode, readable):
    """Nothing is opened, so root can tell it of others."""
    path = open_path / "file"
    path.touch()
    path.chmod(mode)
    assert host.may_read(path, OTHER) is readable


def test_a_folder_above_may_be_closed(open_path):
    """Then the file's own mode does not matter."""
    folder = open_path / "folder"
    folder.mkdir()
    path = folder / "file"
    path.touch(0o644)
    folder.chmod(0o700)
    assert not host.may_read(path, OTHER)
    folder.chmod(0o711)
    assert host.may_read(path, OTHER)


def test_what_counts_is_where_a_link_leads(open_path):
    """Certificates are often links."""
    path, link = open_path / "file", open_path / "link"
    path.touch()
    path.chmod(0o600)
    link.symlink_to(path)
    assert not host.may_read(link, OTHER)
    assert host.may_read(link, None) is os.access(path, os.R_OK)


def test_a_file_that_is_not_there(open_path):
    """An error, not an answer."""
    with pytest.raises(FileNotFoundError):
        host.may_read(open_path / "none", OTHER)


def test_groups_have_names():
    """One without a name is left out."""
    known = grp.getgrall()[0]
    user = host.User("x", 1, known.gr_gid, (known.gr_gid, 3999999999), "/")
    assert host.list_groups(user) == [known.gr_name]
