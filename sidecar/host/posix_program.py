"""Keep the runner's program root's own on POSIX, and its processes closed to their own user."""

from __future__ import annotations

import errno
import os
import shlex
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

from sidecar.host.posix_folders import remove_entry  # noqa: E402  after the assertion

DIAGNOSTICS = "DOTNET_EnableDiagnostics"
"""With the value 0, a .NET program opens no socket by which others of its user can load code."""

_BIN, _EXTERNALS = "bin", "externals"
_CLOSED = ("Runner.Listener", "Runner.Worker")
_ELF = b"\x7fELF"
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_DUMPABLE = Path("/proc/sys/fs/suid_dumpable")


def secure_program(root: Path, *, first_life: bool) -> list[str]:
    """Make `bin/` and `externals/` of the runner root's; return the names of what was removed.

    In the first life on a disk both are the image's, whoever owns them. Later, an `externals` that
    is not root's was put there by a job: it is removed. Raises OSError for such a `bin/`: jobs of
    an agent that was not root may have changed it, and root would run it. The programs that have
    secrets can be run by everybody, and read by root alone, so the kernel lets no other process of
    their user look into them.
    """
    removed = []
    for name in (_BIN, _EXTERNALS):
        path = root / name
        if not first_life and not _is_all_of_root(path):
            if name == _BIN:
                raise PermissionError(
                    errno.EPERM,
                    "bin/ is not root's alone, although jobs ran here: lay out the runner anew",
                )
            removed += [name] * remove_entry(path)
        if os.path.lexists(path):
            if first_life:
                _take(path)
        elif name == _EXTERNALS:  # else a job could make it, for the next life
            path.mkdir(mode=0o755)
    for name in _CLOSED:
        _close(root / _BIN / name)
    return removed


def _take(path: Path) -> None:
    """Give `path` to root, and all that it leads to unless that is root's already."""
    if path.is_symlink():  # an image's, to a folder of another name
        os.chown(path, 0, 0, follow_symlinks=False)
    if path.name == _EXTERNALS and _is_all_of_root(path):  # it has thousands of files
        return
    for here, _, names in os.walk(path.resolve(), topdown=False):
        for each in (*(os.path.join(here, name) for name in names), here):  # noqa: PTH118
            status = os.lstat(each)
            if status.st_uid != 0:
                os.chown(each, 0, 0, follow_symlinks=False)
            if status.st_mode & _WRITABLE and not stat.S_ISLNK(status.st_mode):
                os.chmod(each, stat.S_IMODE(status.st_mode) & ~_WRITABLE)  # noqa: PTH101


def _is_all_of_root(path: Path) -> bool:
    """Return whether what runs from `path` is root's, and only root can write there."""
    try:
        return all(
            status.st_uid == 0 and (stat.S_ISLNK(status.st_mode) or not status.st_mode & _WRITABLE)
            for status in (each.lstat() for each in _list_executed(path))
        )
    except OSError:
        return False


def _list_executed(path: Path) -> Iterator[Path]:
    """Yield `path` and what it leads to, the entries, and the programs of each version of node."""
    yield path
    yield path.resolve()
    for entry in path.iterdir():
        yield entry
        programs = entry / "bin"
        if programs.is_dir():
            yield programs
            yield from programs.iterdir()


def _close(program: Path) -> None:
    """Let nobody but root read a compiled program: its processes are then not dumpable.

    A script stays readable: its interpreter has to read it.
    """
    with suppress(FileNotFoundError), program.open("rb") as file:
        if file.read(len(_ELF)) == _ELF and stat.S_IMODE(program.stat().st_mode) != 0o711:
            program.chmod(0o711)


def are_programs_exposed() -> bool:
    """Return whether this machine's kernel lets users look into programs that they cannot read."""
    try:
        return _DUMPABLE.read_text().strip() == "1"
    except OSError:
        return False


def build_variable_script(name: str, value: str) -> str:
    """Return lines of a hook that set a variable for the job's later steps."""
    line = shlex.quote(f"{name}={value}")
    return (
        'if [ -w "${GITHUB_ENV:-/dev/null/none}" ]; then\n'
        f"  printf '%s\\n' {line} >>\"$GITHUB_ENV\" 2>/dev/null || :\n"
        "fi\n"
    )
