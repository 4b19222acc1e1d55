"""Users on POSIX."""

import getpass
import os
import pwd
import sys

import pytest

from sidecar import host

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

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
