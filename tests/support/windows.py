"""Windows only: deliver console events, wait until processes end, tell wine from Windows."""

import ctypes
import sys
from contextlib import contextmanager
from ctypes import wintypes
from pathlib import Path

if sys.platform == "win32":
    kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    for name in ("GetModuleHandleW", "GetProcAddress", "OpenProcess", "CreateRemoteThread"):
        getattr(kernel32, name).restype = ctypes.c_void_p
    kernel32.GetProcAddress.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    kernel32.CreateRemoteThread.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p,
        wintypes.DWORD, ctypes.c_void_p,
    ]  # fmt: skip
    kernel32.WaitForSingleObject.argtypes = [ctypes.c_void_p, wintypes.DWORD]
    kernel32.TerminateProcess.argtypes = [ctypes.c_void_p, wintypes.UINT]
    kernel32.CloseHandle.argtypes = [ctypes.c_void_p]

    IS_WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")

CTRL_C, CTRL_BREAK, CLOSE, LOGOFF, SHUTDOWN = 0, 1, 2, 5, 6
ALL_ACCESS, _SYNCHRONIZE = 0x1FFFFF, 0x100000
_ENDED = 0


def send_event(pid, event):
    """Deliver a console event to one process as Windows does: in a thread of its own in it.

    No program can ask Windows for most of them; this is the routine that the system starts. It
    reaches the handlers of a process without a console too. GenerateConsoleCtrlEvent does not: wine
    refuses it, or kills the process.
    """
    routine = kernel32.GetProcAddress(kernel32.GetModuleHandleW("kernelbase.dll"), b"CtrlRoutine")
    with opened(pid, ALL_ACCESS) as process:
        thread = kernel32.CreateRemoteThread(process, None, 0, routine, event, 0, None)
        if not thread:
            raise ctypes.WinError(ctypes.get_last_error())
        kernel32.CloseHandle(thread)


@contextmanager
def opened(pid, access=_SYNCHRONIZE):
    """Hold a process open within the block; it can then be waited for, even if it has ended."""
    process = kernel32.OpenProcess(access, 0, pid)
    if not process:
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        yield process
    finally:
        kernel32.CloseHandle(process)


def open_pipe(path):
    """Connect to a named pipe, once its server is ready for another client."""
    kernel32.WaitNamedPipeW(str(path), 20_000)
    return Path(path).open("r+b", buffering=0)


def has_ended(process, seconds=20):
    """Wait until an opened process has ended; return False if it does not within that time."""
    return kernel32.WaitForSingleObject(process, int(seconds * 1000)) == _ENDED
