"""Give the runner's program a second place on POSIX: a folder that only root can enter."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

from sidecar.host.posix_files import is_own_folder  # noqa: E402  after the assertion
from sidecar.host.posix_folders import remove_entry  # noqa: E402

_BIN = "bin"


def provide_private_program(root: Path, private: Path) -> str:
    """Make `private` a folder of this process's user alone that has the `bin/` of `root` too.

    The program takes the folder above its own for the runner's root, so a link to `bin/` would not
    do. Hard links cost nothing, if the image has made them together with the files; where links
    are impossible, another file system for example, the files are copied. Returns "found",
    "linked" or "copied". Raises OSError.
    """
    if not is_own_folder(private) or stat.S_IMODE(private.lstat().st_mode) != 0o700:
        remove_entry(private)
        private.mkdir(0o700)
    source, target = Path(os.path.realpath(root / _BIN)), private / _BIN
    if _is_same_tree(source, target):
        return "found"
    remove_entry(target)
    try:
        _copy(source, target, os.link)
    except OSError:
        remove_entry(target)
        _copy(source, target, shutil.copy2)
        return "copied"
    return "linked"


def _copy(source: Path, target: Path, copy: object) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=copy)  # type: ignore[arg-type]


def _is_same_tree(source: Path, target: Path) -> bool:
    """Return whether both folders have the same names, for the same files."""
    if not is_own_folder(target):
        return False
    return _list_files(source) == _list_files(target)


def _list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the files of a folder, and of those in it, with their device and inode."""
    files = {}
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)  # noqa: PTH118  some hundred of them
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                files[os.path.relpath(path, folder)] = (status.st_dev, status.st_ino)
    return files
