"""Start programs, send them console events and list processes, as a program of Windows.

It runs in a Windows Python and is the far end of `wine.Wine`. Each line of standard input is a
command, {"call": N, "do": NAME, ...arguments}; a line of standard output answers it with its
"value" or "error". Other lines say what a program printed, and with which code it ended. With its
standard input all programs end that it has started.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from ctypes import wintypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # else nothing of the repository is on it

from tests.support.windows import ALL_ACCESS, has_ended, kernel32, opened, send_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SNAPSHOT_OF_PROCESSES = 0x2
HANDLE = ctypes.c_void_p

_turn = threading.Lock()
_programs: list[subprocess.Popen[bytes]] = []


class _Entry(ctypes.Structure):
    """PROCESSENTRY32W."""

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


def _declare(name: str, *arguments: Any, returns: Any = wintypes.BOOL) -> Any:
    function = getattr(kernel32, name)
    function.argtypes, function.restype = arguments, returns
    return function


_exit_code = _declare("GetExitCodeProcess", HANDLE, ctypes.POINTER(wintypes.DWORD))
_snapshot = _declare("CreateToolhelp32Snapshot", wintypes.DWORD, wintypes.DWORD, returns=HANDLE)
_first = _declare("Process32FirstW", HANDLE, ctypes.POINTER(_Entry))
_next = _declare("Process32NextW", HANDLE, ctypes.POINTER(_Entry))


# --- commands -------------------------------------------------------------------------------------


def start(
    number: int, argv: Sequence[str], env: Mapping[str, str | None], cwd: str, flags: int
) -> int:
    """Start a program; returns its process id. A variable that is None is removed.

    Its `number` stands in the lines about it, for another one may get the same process id later.
    """
    merged = {**os.environ, **env}
    program = subprocess.Popen(
        list(argv),
        env={name: value for name, value in merged.items() if value is not None},
        cwd=cwd,
        creationflags=flags,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    _programs.append(program)
    for task in (_forward_output, _report_end):
        threading.Thread(target=task, args=(number, program), daemon=True).start()
    return program.pid


def terminate(pid: int, code: int) -> None:
    """End a process at once with an exit code, by TerminateProcess."""
    with opened(pid, ALL_ACCESS) as process:
        _checked(kernel32.TerminateProcess(process, code))


def wait(pid: int, timeout: float) -> int | None:
    """Wait for the end of any process; returns its exit code, None if it still runs."""
    with opened(pid, ALL_ACCESS) as process:
        if not has_ended(process, timeout):
            return None
        code = wintypes.DWORD()
        _checked(_exit_code(process, ctypes.byref(code)))
        return code.value


def list_processes() -> list[tuple[int, int, str]]:
    """Return the process id, the parent's and the program's name of each process."""
    snapshot = _checked(_snapshot(SNAPSHOT_OF_PROCESSES, 0))
    entry = _Entry()
    entry.size = ctypes.sizeof(entry)
    found = []
    try:
        more = _first(snapshot, ctypes.byref(entry))
        while more:
            found.append((entry.pid, entry.parent, entry.name))
            more = _next(snapshot, ctypes.byref(entry))
    finally:
        kernel32.CloseHandle(snapshot)
    return found


COMMANDS = (start, send_event, terminate, wait, list_processes)


def _checked(result: int | None) -> int:
    if not result or result == ctypes.c_void_p(-1).value:
        raise ctypes.WinError(ctypes.get_last_error())
    return result


# --- lines ----------------------------------------------------------------------------------------


def main() -> None:
    """Do what the lines of standard input say, until its end."""
    commands = {function.__name__: function for function in COMMANDS}
    _say(ready=os.getpid())
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        call, function = asked.pop("call"), commands[asked.pop("do")]
        threading.Thread(target=_answer, args=(call, function, asked), daemon=True).start()
    for program in _programs:
        program.kill()
    os._exit(0)


def _answer(call: int, function: Any, arguments: Mapping[str, Any]) -> None:
    try:
        _say(call=call, value=function(**arguments))
    except Exception as error:  # noqa: BLE001  raised at the other end
        _say(call=call, error=f"{type(error).__name__}: {error}")


def _forward_output(number: int, program: subprocess.Popen[bytes]) -> None:
    assert program.stdout
    for line in program.stdout:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        _say(program=number, line=text)
    _say(program=number, line=None)


def _report_end(number: int, program: subprocess.Popen[bytes]) -> None:
    _say(program=number, code=program.wait() & 0xFFFFFFFF)


def _say(**message: Any) -> None:
    with _turn:
        sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
