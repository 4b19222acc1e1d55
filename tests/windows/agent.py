"""Run the agent where Ctrl-Break can be sent, as on Windows itself: `agent.py [WORDS]`.

Wine's GenerateConsoleCtrlEvent fails, or ends a process. In its place stands here what Windows
does then: a thread of the system's calls the handlers of the process that leads the group. The
others of a runner's group, its worker and the steps, have no console in common with it.
"""

import ctypes
import sys
from pathlib import Path

sys.path[0] = str(Path.cwd())  # as `python -m sidecar` has it

from sidecar.host.win32 import console, libraries  # noqa: E402

ALL_ACCESS = 0x1FFFFF

kernel = libraries.kernel32
open_process = libraries.declare(
    kernel, "OpenProcess", ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_uint
)
create_thread = libraries.declare(
    kernel,
    "CreateRemoteThread",
    ctypes.c_void_p,
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p),
    *(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p),
)
close = libraries.declare(kernel, "CloseHandle", ctypes.c_int, ctypes.c_void_p)
find_module = libraries.declare(kernel, "GetModuleHandleW", ctypes.c_void_p, ctypes.c_wchar_p)
find_function = libraries.declare(
    kernel, "GetProcAddress", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p
)


def generate(event, group):
    """Deliver a console event; return whether there is such a process."""
    process = open_process(ALL_ACCESS, 0, group)
    if not process:
        return 0
    routine = find_function(find_module("kernelbase.dll"), b"CtrlRoutine")
    thread = create_thread(process, None, 0, routine, event, 0, None)
    close(process)
    if thread:
        close(thread)
    return int(bool(thread))


if __name__ == "__main__":
    console._generate = generate
    from sidecar.__main__ import main

    sys.exit(main(sys.argv[1:]))
