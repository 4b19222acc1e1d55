"""Users on POSIX: the one that the runner's processes run as, and the agent's own."""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import dataclass

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is


@dataclass(frozen=True, slots=True)
class User:
    """The user that the runner's processes run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def find_user(name: str) -> User | None:
    """Return the user of that name with all its groups; None if there is no such user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return User(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def agent_user_name() -> str:
    """Return the name of the user this process runs as, or its number if it has no name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def read_user_id(user: User) -> int:
    """Return the user's number."""
    return user.uid


def is_root() -> bool:
    """Whether this process may become another user."""
    return os.geteuid() == 0
