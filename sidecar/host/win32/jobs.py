"""Job objects: a process and all that it starts, ended together, whatever becomes of its parent.

A process in a job object starts every other one in it too, and none can leave it, because the job
object does not allow that. With KILL_ON_JOB_CLOSE the system ends all of them when the last handle
to it is closed: also when the process that holds the handle is killed. They can be nested since
Windows 8, so a job's own job objects, and a container's, are no obstacle.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes

from sidecar.host.win32 import libraries

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_LIMITS, _MEMBERS = 9, 3  # JobObjectExtendedLimitInformation, JobObjectBasicProcessIdList
_KILL_ON_CLOSE = 0x2000
_MORE_DATA = 234
_SET_QUOTA, _TERMINATE, _SUSPEND_RESUME = 0x0100, 0x0001, 0x0800


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("process_time", wintypes.LARGE_INTEGER),
        ("job_time", wintypes.LARGE_INTEGER),
        ("flags", wintypes.DWORD),
        ("smallest_working_set", ctypes.c_size_t),
        ("largest_working_set", ctypes.c_size_t),
        ("processes", wintypes.DWORD),
        ("affinity", ctypes.c_size_t),
        ("priority", wintypes.DWORD),
        ("scheduling", wintypes.DWORD),
    )


class _Limits(ctypes.Structure):
    _fields_ = (
        ("basic", _BasicLimits),
        ("counters", ctypes.c_ulonglong * 6),
        ("memory", ctypes.c_size_t * 4),
    )


_create = libraries.declare(
    libraries.kernel32, "CreateJobObjectW", wintypes.HANDLE, ctypes.c_void_p, wintypes.LPCWSTR
)
_set = libraries.declare(
    libraries.kernel32, "SetInformationJobObject", wintypes.BOOL,
    wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD,
)  # fmt: skip
_query = libraries.declare(
    libraries.kernel32, "QueryInformationJobObject", wintypes.BOOL,
    wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p,
)  # fmt: skip
_assign = libraries.declare(
    libraries.kernel32, "AssignProcessToJobObject", wintypes.BOOL, wintypes.HANDLE, wintypes.HANDLE
)
_terminate = libraries.declare(
    libraries.kernel32, "TerminateJobObject", wintypes.BOOL, wintypes.HANDLE, wintypes.UINT
)
# Not documented, but stable since Windows XP. The documented way, ResumeThread, needs the handle of
# a thread, which `subprocess` closes.
_resume = libraries.declare(
    ctypes.WinDLL("ntdll"), "NtResumeProcess", wintypes.LONG, wintypes.HANDLE
)


class Job:
    """A job object, which ends its processes when it is closed. Raises OSError."""

    def __init__(self) -> None:
        self._handle = _create(None, None)
        if not self._handle:
            raise libraries.make_error("cannot make a job object")
        limits = _Limits()
        limits.basic.flags = _KILL_ON_CLOSE
        if not _set(self._handle, _LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)):
            error = libraries.make_error("cannot limit a job object")
            self.close()
            raise error

    def add_this_process(self) -> None:
        """Put the calling process into it, for good. Raises OSError."""
        if not _assign(self._handle, libraries.current_process()):
            raise libraries.make_error("cannot enter a job object")

    def add_and_resume(self, pid: int) -> None:
        """Put a process that was started suspended into it, then let it run. Raises OSError."""
        process = libraries.open_process(_SET_QUOTA | _TERMINATE | _SUSPEND_RESUME, 0, pid)
        if not process:
            raise libraries.make_error(f"cannot open process {pid}")
        try:
            if not _assign(self._handle, process):
                raise libraries.make_error(f"cannot put process {pid} into a job object")
            if _resume(process) < 0:
                raise libraries.make_error(f"cannot resume process {pid}", 0)
        finally:
            libraries.close_handle(process)

    def list_members(self) -> list[int]:
        """Return the processes in it that have not ended. Raises OSError."""
        room = 64
        while True:
            answer = _make_list(room)
            if _query(self._handle, _MEMBERS, ctypes.byref(answer), ctypes.sizeof(answer), None):
                return list(answer.pids[: answer.listed])
            if ctypes.get_last_error() != _MORE_DATA:
                raise libraries.make_error("cannot list the processes of a job object")
            room *= 4

    def terminate(self, code: int) -> None:
        """End every process in it, with this exit code; they take a moment to be gone."""
        if not _terminate(self._handle, code):
            raise libraries.make_error("cannot end the processes of a job object")

    def close(self) -> None:
        """End every process in it, and release it."""
        libraries.close_handle(self._handle)


def _make_list(room: int) -> ctypes.Structure:
    class ProcessList(ctypes.Structure):
        _fields_ = (
            ("assigned", wintypes.DWORD),
            ("listed", wintypes.DWORD),
            ("pids", ctypes.c_size_t * room),
        )

    return ProcessList()
