"""Folders on POSIX that a job's user may own, or a step on the way to them."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from sidecar.host.posix import paths, trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    if sys.platform != "win32":  # the type checker reads this for both systems
        from sidecar.host.posix_users import User

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_OWNER_MAY = stat.S_IRWXU
_never = trees.never


def make_folder(path: Path, user: User | None) -> None:
    """Make the folder `path` if it is missing; if it is root's, give it to `user`.

    What `user` has put in the place of a folder, on the way too, is removed. Raises OSError.
    """

    def mend(inside: int, name: str) -> None:
        with suppress(FileNotFoundError):
            if user is None or os.lstat(name, dir_fd=inside).st_uid != user.uid:
                os.mkdir(name, dir_fd=inside)  # a file of others is no mistake of a job's
                return
            trees.remove_in(inside, name)
        os.mkdir(name, dir_fd=inside)

    folder = paths.open_folder(path, mend)
    try:
        _open_to_user(folder, ".", user)
    finally:
        os.close(folder)


def mend_folder(folder: Path, names: tuple[str, ...], user: User | None) -> bool:
    """Remove what is no folder but stands on the path `names` below `folder`; open a closed one.

    A folder of root's is given to `user`. What is missing stays so. Returns whether something was
    removed. Raises OSError.
    """
    inside = paths.open_folder(folder)
    try:
        for name in names:
            try:
                mode = os.lstat(name, dir_fd=inside).st_mode
            except FileNotFoundError:
                return False
            if stat.S_ISDIR(mode):
                _open_to_user(inside, name, user)
            try:
                deeper = paths.open_steps(os.dup(inside), (name,))  # an image's link is followed
            except OSError:
                trees.remove_in(inside, name)
                return True
            os.close(inside)
            inside = deeper
    finally:
        os.close(inside)
    return False


def _open_to_user(inside: int, name: str, user: User | None) -> None:
    """Give a folder of root's to `user`, and its owner all rights that it may have closed."""
    try:
        folder = os.open(name, paths.FOLDER, dir_fd=inside)
    except PermissionError:  # a closed folder, and this process is not root
        os.chmod(name, _OWNER_MAY, dir_fd=inside)
        return
    try:
        status = os.fstat(folder)
        if user is not None and status.st_uid == 0:
            os.fchown(folder, user.uid, user.gid)
            return
        is_theirs = status.st_uid == (os.geteuid() if user is None else user.uid)
        if is_theirs and status.st_mode & _OWNER_MAY != _OWNER_MAY:
            os.fchmod(folder, stat.S_IMODE(status.st_mode) | _OWNER_MAY)
    finally:
        os.close(folder)


def keep_link(path: Path) -> None:
    """Give the link at `path`, if there is one, to this process's user: it is then followed.

    Only for what no job can have made.
    """
    with suppress(FileNotFoundError), paths.open_parent(path) as (inside, name):
        if stat.S_ISLNK(os.lstat(name, dir_fd=inside).st_mode):
            os.chown(name, os.geteuid(), -1, dir_fd=inside, follow_symlinks=False)


def make_folder_below(folder: Path, name: str, user: User | None) -> None:
    """Make the folder `name` in `folder` for `user` if it is missing; replace a link or a file."""
    inside = paths.open_folder(folder)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=inside).st_mode):
                return
            os.unlink(name, dir_fd=inside)
        os.mkdir(name, 0o755, dir_fd=inside)
        if user is not None:
            os.chown(name, user.uid, user.gid, dir_fd=inside, follow_symlinks=False)
    finally:
        os.close(inside)


def remove_folder(path: Path, stopped: Callable[[], bool] = _never) -> None:
    """Remove a folder with everything in it; a missing one is no error.

    A job's link on the way is removed itself. Raises OSError; TimeoutError once `stopped` returns
    True.
    """
    _remove(path, stopped)


def remove_entry(path: Path, stopped: Callable[[], bool] = _never) -> bool:
    """Remove the file, link or folder at `path`; return whether there was one.

    A job's link on the way is removed itself. Raises OSError; TimeoutError once `stopped` returns
    True.
    """
    return _remove(path, stopped)


def _remove(path: Path, stopped: Callable[[], bool]) -> bool:
    removed = False

    def remove_link(inside: int, name: str) -> None:
        nonlocal removed
        with suppress(FileNotFoundError):
            if stat.S_ISLNK(os.lstat(name, dir_fd=inside).st_mode):
                os.unlink(name, dir_fd=inside)
                removed = True

    try:
        inside = paths.open_folder(path.parent, remove_link)
    except (FileNotFoundError, NotADirectoryError):
        return removed
    try:
        return trees.remove_in(inside, path.name, stopped)
    finally:
        os.close(inside)


def remove_below(
    folder: Path, names: tuple[str, ...], stopped: Callable[[], bool] = _never
) -> None:
    """Remove the entry that the path `names` leads to from `folder`; a missing one is no error.

    No link below `folder` is followed. A link on the way is removed itself: who reads this path
    later would follow it.
    """
    try:
        inside = paths.open_folder(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    *parents, last = names
    try:
        for name in parents:
            if (deeper := paths.open_in(inside, name)) is None:
                trees.remove_in(inside, name, stopped)
                return
            os.close(inside)
            inside = deeper
        trees.remove_in(inside, last, stopped)
    finally:
        os.close(inside)


def copy_folder(source: Path, target: Path) -> None:
    """Copy the folder `source` to the new folder `target`; links in it stay links. Raises OSError.

    No link on the way to either is followed that a job may have made.
    """
    with paths.open_parent(source) as (inside, name), paths.open_parent(target) as (there, new):
        trees.copy_tree(inside, name, there, new)
