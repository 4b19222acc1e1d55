"""The harness that the other tests of this folder stand on."""

from __future__ import annotations

import pytest

from tests.windows.wine import CTRL_SHUTDOWN, NEW_CONSOLE, WineError

LISTENER = """
import ctypes, sys, threading
heard = threading.Event()
@ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)
def handle(event):
    print("heard", event, flush=True)
    heard.set()
    return 1
ctypes.windll.kernel32.SetConsoleCtrlHandler(handle, 1)
print("ready", flush=True)
heard.wait()
sys.exit(3)
"""
SLEEPER = "import threading; print('ready', flush=True); threading.Event().wait()"


def test_a_genuine_windows_python_runs(wine, version):
    """It is CPython for Windows, with the extension modules and wheels that the agent needs."""
    code = (
        "import sys, ssl, ctypes, sqlite3, asyncio, aiohttp, aiobotocore, httptools, pydantic_core;"
        "from cryptography.hazmat.primitives.asymmetric import rsa;"
        "print(sys.platform, '%d.%d' % sys.version_info[:2], 'MSC' in sys.version)"
    )
    done = wine.run([wine.python(version), "-c", code])
    assert (done.code, done.output) == (0, f"win32 {version} True")


@pytest.mark.parametrize("flags", [0, NEW_CONSOLE])
def test_a_console_event_reaches_the_handler(wine, version, flags):
    """The one process that it is sent to, whether it has a console or not."""
    program = wine.start([wine.python(version), "-c", LISTENER], flags=flags)
    program.wait_for_line("ready")
    wine.send_event(program.pid, CTRL_SHUTDOWN)
    assert program.wait_for_line("heard") == f"heard {CTRL_SHUTDOWN}"
    assert program.wait() == 3


def test_exit_codes_have_32_bits(wine):
    """A code as Windows gives it to a program that crashed is not cut or made negative."""
    program = wine.start([wine.python("3.11"), "-c", SLEEPER])
    program.wait_for_line("ready")
    wine.terminate(program.pid, 0xC0000005)
    assert program.wait() == 0xC0000005


def test_what_a_program_leaves_behind_is_seen(wine):
    """A child that survives stands in the list of processes, and can be waited for."""
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])"
    program = wine.start([wine.python("3.11"), "-c", code])
    program.wait_for_line("ready")
    assert program.wait() == 0
    [left] = [process for process in wine.list_processes() if process.parent == program.pid]
    assert left.name == "python.exe"
    with pytest.raises(WineError, match="still held open"):
        program.wait_for_output(timeout=0.01)
    wine.terminate(left.pid, 9)
    assert wine.wait_for_end(left.pid) == 9
    assert program.wait_for_output() == "ready"
    assert left not in wine.find_left()
