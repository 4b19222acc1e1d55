"""Processes by their kinship (a Toolhelp snapshot) and their environment (their own memory)."""

import ctypes
import os
import sys
from collections.abc import Iterator
from ctypes import wintypes

assert sys.platform == "win32"

_PROCESSES = 0x2
_NO_HANDLE = ctypes.c_void_p(-1).value
_TERMINATE, _READ, _QUERY = 0x1, 0x10, 0x400
_LONGEST = 1 << 16
"""Bytes of an environment that are looked at."""

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.CreateToolhelp32Snapshot.restype = ctypes.c_void_p
_kernel.OpenProcess.restype = ctypes.c_void_p


class _Entry(ctypes.Structure):
    """PROCESSENTRY32W."""

    _fields_ = (
        ("size", wintypes.DWORD),
        ("usage", wintypes.DWORD),
        ("pid", wintypes.DWORD),
        ("heap", ctypes.c_void_p),
        ("module", wintypes.DWORD),
        ("threads", wintypes.DWORD),
        ("parent", wintypes.DWORD),
        ("priority", wintypes.LONG),
        ("flags", wintypes.DWORD),
        ("name", wintypes.WCHAR * 260),
    )


def _snapshot() -> Iterator[_Entry]:
    handle = ctypes.c_void_p(_kernel.CreateToolhelp32Snapshot(_PROCESSES, 0))
    try:
        entry = _Entry(size=ctypes.sizeof(_Entry))
        found = _kernel.Process32FirstW(handle, ctypes.byref(entry))
        while found:
            yield entry
            found = _kernel.Process32NextW(handle, ctypes.byref(entry))
    finally:
        _kernel.CloseHandle(handle)


def list_parents() -> dict[int, int]:
    """Return the parent of each process; it may have ended long ago."""
    return {entry.pid: entry.parent for entry in _snapshot()}


def strike(pid: int) -> None:
    """Kill one process that may be gone already, or another user's."""
    handle = ctypes.c_void_p(_kernel.OpenProcess(_TERMINATE, 0, pid))
    if handle:
        _kernel.TerminateProcess(handle, 1)
        _kernel.CloseHandle(handle)


def find_tracked(mark: str) -> dict[int, str]:
    """Give the processes with `RUNNER_TRACKING_ID=mark` in their environment, and their names."""
    wanted = f"RUNNER_TRACKING_ID={mark}\0".encode("utf-16-le")
    names = {entry.pid: str(entry.name) for entry in _snapshot()}
    names.pop(os.getpid(), None)
    return {pid: name for pid, name in names.items() if wanted in _read_environment(pid)}


def _read_environment(pid: int) -> bytes:
    """Return the environment of a 64-bit process; nothing where it cannot be read."""
    process = ctypes.c_void_p(_kernel.OpenProcess(_QUERY | _READ, 0, pid))
    if not process:
        return b""
    try:
        # PROCESS_BASIC_INFORMATION: its second word is where the PEB is.
        basic = (ctypes.c_uint64 * 6)()
        size = ctypes.sizeof(basic)
        if ctypes.windll.ntdll.NtQueryInformationProcess(process, 0, basic, size, None):
            return b""
        parameters = _read_word(process, basic[1] + 0x20)  # PEB.ProcessParameters
        return _read(process, _read_word(process, parameters + 0x80))  # .Environment
    finally:
        _kernel.CloseHandle(process)


def _read_word(process: ctypes.c_void_p, address: int) -> int:
    return int.from_bytes(_read(process, address, 8), "little")


def _read(process: ctypes.c_void_p, address: int, size: int = _LONGEST) -> bytes:
    """Return `size` bytes, or as many of them as there are up to the end of a page."""
    buffer, count = ctypes.create_string_buffer(size), ctypes.c_size_t()
    while size >= 8:
        place = ctypes.c_void_p(address)
        if _kernel.ReadProcessMemory(
            process, place, buffer, ctypes.c_size_t(size), ctypes.byref(count)
        ):
            return buffer.raw[: count.value]
        size //= 2
    return b""
