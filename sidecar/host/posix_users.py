"""Users on POSIX: the one that the runner's processes run as, and the agent's own."""

from __future__ import annotations

import grp
import os
import pwd
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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


def list_groups(user: User) -> list[str]:
    """Return the names of the user's groups; a group without a name is left out."""
    found = []
    for number in user.groups:
        with suppress(KeyError):
            found.append(grp.getgrgid(number).gr_name)
    return found


def may_read(path: Path, user: User | None) -> bool:
    """Whether `user`, or this process if None, may read a file. Raises OSError.

    By the modes of the file and the folders above it: nothing is opened.
    """
    if user is None:
        return os.access(path, os.R_OK)
    real = path.resolve(strict=True)
    return _grants(real.stat(), user, 4) and all(
        _grants(folder.stat(), user, 1) for folder in real.parents
    )


def _grants(status: os.stat_result, user: User, right: int) -> bool:
    """Whether a mode gives a user a right: 4 to read, 2 to write, 1 to enter."""
    if status.st_uid == user.uid:
        return bool(status.st_mode >> 6 & right)
    if status.st_gid in (user.gid, *user.groups):
        return bool(status.st_mode >> 3 & right)
    return bool(status.st_mode & right)


def is_root() -> bool:
    """Whether this process may become another user."""
    return os.geteuid() == 0
