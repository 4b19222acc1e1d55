"""Take a snapshot of the running processes (Toolhelp)."""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes
from typing import NamedTuple

from sidecar.host.win32 import libraries

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_PROCESSES = 0x2
_INVALID = ctypes.c_void_p(-1).value


class RunningProcess(NamedTuple):
    """One process of a snapshot."""

    pid: int
    parent: int
    """The pid of the process that started it, which may have ended."""
    name: str
    """The file name of its program."""


class _Entry(ctypes.Structure):
    _fields_ = (
        ("size", wintypes.DWORD),
        ("usage", wintypes.DWORD),
        ("pid", wintypes.DWORD),
        ("heap", ctypes.c_size_t),
        ("module", wintypes.DWORD),
        ("threads", wintypes.DWORD),
        ("parent", wintypes.DWORD),
        ("priority", wintypes.LONG),
        ("flags", wintypes.DWORD),
        ("name", wintypes.WCHAR * 260),
    )


_create = libraries.declare(
    libraries.kernel32, "CreateToolhelp32Snapshot", wintypes.HANDLE, wintypes.DWORD, wintypes.DWORD
)
_read = {
    name: libraries.declare(
        libraries.kernel32, name, wintypes.BOOL, wintypes.HANDLE, ctypes.POINTER(_Entry)
    )
    for name in ("Process32FirstW", "Process32NextW")
}


def list_processes() -> list[RunningProcess]:
    """Return every process that runs. Raises OSError."""
    snapshot = _create(_PROCESSES, 0)
    if snapshot in (None, _INVALID):
        raise libraries.make_error("cannot take a snapshot of the processes")
    found = []
    entry = _Entry(ctypes.sizeof(_Entry))
    try:
        more = _read["Process32FirstW"](snapshot, ctypes.byref(entry))
        while more:
            found.append(RunningProcess(entry.pid, entry.parent, entry.name))
            more = _read["Process32NextW"](snapshot, ctypes.byref(entry))
    finally:
        libraries.close_handle(snapshot)
    return found
