"""Look at Windows processes, and do to them what a person or ECS does; runs on Windows.

Reads one command a line on standard input and answers each with one line of JSON:

    list            pid, parent's pid and name of every process, of a Toolhelp snapshot
    event PID N     deliver console event N (0 Ctrl-C, 1 Ctrl-Break, 2 close, 5 logoff, 6 shutdown)
    kill PID        end a process by TerminateProcess

An event reaches a process as Windows delivers it: by a thread of the system's own in it. Wine's
GenerateConsoleCtrlEvent fails or ends the caller.
"""

import ctypes
import json
import sys
from ctypes import wintypes

PROCESSES, ALL_ACCESS = 0x2, 0x1FFFFF

kernel = ctypes.WinDLL("kernel32", use_last_error=True)
for name in ("CreateToolhelp32Snapshot", "OpenProcess", "GetModuleHandleW", "GetProcAddress"):
    getattr(kernel, name).restype = ctypes.c_void_p
kernel.CreateRemoteThread.restype = ctypes.c_void_p
kernel.GetProcAddress.argtypes = [ctypes.c_void_p, ctypes.c_char_p]


class Entry(ctypes.Structure):
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


def list_processes():
    """Return [pid, parent's pid, name] of every process."""
    handle = ctypes.c_void_p(kernel.CreateToolhelp32Snapshot(PROCESSES, 0))
    entry = Entry(size=ctypes.sizeof(Entry))
    listed = []
    found = kernel.Process32FirstW(handle, ctypes.byref(entry))
    while found:
        listed.append([entry.pid, entry.parent, entry.name])
        found = kernel.Process32NextW(handle, ctypes.byref(entry))
    kernel.CloseHandle(handle)
    return listed


def send_event(process, event):
    """Deliver a console event; return whether the thread could be made."""
    base = ctypes.c_void_p(kernel.GetModuleHandleW("kernelbase.dll"))
    routine = ctypes.c_void_p(kernel.GetProcAddress(base, b"CtrlRoutine"))
    argument, size = ctypes.c_void_p(event), ctypes.c_size_t(0)
    thread = kernel.CreateRemoteThread(process, None, size, routine, argument, 0, None)
    return bool(thread and kernel.CloseHandle(ctypes.c_void_p(thread)))


def end(process):
    """End a process as TerminateProcess does; return whether that was done."""
    return bool(kernel.TerminateProcess(process, 1))


def do(words):
    """Do one command; return its answer."""
    if words[0] == "list":
        return list_processes()
    process = ctypes.c_void_p(kernel.OpenProcess(ALL_ACCESS, 0, int(words[1])))
    if not process:
        return False
    try:
        return end(process) if words[0] == "kill" else send_event(process, int(words[2]))
    finally:
        kernel.CloseHandle(process)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(do(line.split())), flush=True)
