"""The agent's own process on Windows: console events, exit codes, output."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.windows import CLOSE, CTRL_BREAK, CTRL_C, LOGOFF, SHUTDOWN, send_event

if sys.platform != "win32":
    pytest.skip("needs Windows (make test-windows)", allow_module_level=True)

from sidecar import host
from sidecar.host.win32 import console

ROOT = Path(console.__file__).parents[3]
CAPTURE = """\
import os, sys, threading
from sidecar.shutdown import signals
received, more = [], threading.Event()
with signals.capture() as captured:
    captured.deliver_to(lambda name: (received.append(name), more.set()))
    print("ready", flush=True)
    for line in sys.stdin:  # one for each event
        more.wait(20)
        more.clear()
        print(*received, flush=True)
os._exit(3)
"""
LOOP = """\
import asyncio
from sidecar.shutdown import signals
from sidecar.shutdown.stop import Stop

async def live(captured):
    stop = Stop(30)
    with stop.receiving(captured):
        print("ready", flush=True)
        await stop.wait_for_level(1)
        print(*stop.signals, flush=True)

with signals.capture() as captured, asyncio.Runner() as runner:
    runner.run(live(captured))
"""
EARLY = """\
import sys
from sidecar.host.win32 import console
heavy = ("asyncio", "aiohttp", "structlog", "pydantic", "botocore", "cryptography")
handle_events = console.handle_events

def look(receive):
    print([name for name in heavy if name in sys.modules], flush=True)
    handle_events(receive)

console.handle_events = look
from sidecar.__main__ import main
code = main(["run", "--nonsense"])
print([name for name in heavy if name in sys.modules] != [], code)
"""


def start(program, **options):
    """Start a Python program that can import the agent, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )


def ask_what_came(process):
    """Return the signals that CAPTURE has received, once there is another one."""
    process.stdin.write(b"?\n")
    process.stdin.flush()
    return process.stdout.readline().split()


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (CTRL_C, b"SIGINT"),
        (CTRL_BREAK, b"SIGBREAK"),
        (CLOSE, b"SIGTERM"),
        (LOGOFF, b"SIGTERM"),
        (SHUTDOWN, b"SIGTERM"),
    ],
)
def test_a_console_event_is_a_stop_signal_and_ends_nothing(event, name):
    """Windows ends the process when the handler of the last three returns: it never does."""
    with start(CAPTURE) as process:
        assert process.stdout.readline() == b"ready\r\n"
        send_event(process.pid, event)
        assert ask_what_came(process) == [name]
        process.stdin.close()
        assert process.wait(30) == 3


def test_a_second_event_is_a_second_signal():
    """It makes a stop more urgent."""
    with start(CAPTURE) as process:
        assert process.stdout.readline() == b"ready\r\n"
        send_event(process.pid, CTRL_BREAK)
        assert ask_what_came(process) == [b"SIGBREAK"]
        send_event(process.pid, CTRL_C)
        assert ask_what_came(process) == [b"SIGBREAK", b"SIGINT"]
        process.stdin.close()
        assert process.wait(30) == 3


def test_an_event_wakes_a_loop_that_waits():
    """It comes in a thread of the system's, and the loop gets it at once."""
    with start(LOOP) as process:
        assert process.stdout.readline() == b"ready\r\n"
        send_event(process.pid, SHUTDOWN)
        assert process.stdout.readline() == b"SIGTERM\r\n"
        assert process.wait(30) == 0


def test_ctrl_c_comes_where_it_was_switched_off():
    """As in a process group of one's own: a child would inherit that it is ignored."""
    with start(CAPTURE, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP) as process:
        assert process.stdout.readline() == b"ready\r\n"
        send_event(process.pid, CTRL_C)
        assert ask_what_came(process) == [b"SIGINT"]
        process.stdin.close()
        assert process.wait(30) == 3


def test_events_are_handled_before_anything_heavy_is_imported():
    """Importing the agent takes half a second; an event in that time would end the process."""
    done = subprocess.run(
        [sys.executable, "-c", EARLY], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == [b"[]", b"True 11"]


def test_the_agent_is_asked_to_stop_before_its_children():
    """Windows asks the processes with the highest level first, and all others have 0x280."""
    program = (
        "import ctypes\n"
        "from sidecar.shutdown import signals\n"
        "level, flags = ctypes.c_uint32(), ctypes.c_uint32()\n"
        "with signals.capture():\n"
        "    ctypes.windll.kernel32.GetProcessShutdownParameters(\n"
        "        ctypes.byref(level), ctypes.byref(flags))\n"
        "print(hex(level.value))\n"
    )
    with start(program) as process:
        assert process.communicate(timeout=60)[0].split() == [b"0x3ff"]


@pytest.mark.parametrize("code", [0, 22, 0x7FFFFFFF, 0xC0000005, 0xC000013A, 0xFFFFFFFF])
def test_an_exit_code_has_32_bits_and_no_sign(code):
    """Python takes a signed number, and fails for the codes of crashes."""
    with start(f"from sidecar import host; host.exit_process({code})") as process:
        assert process.wait(60) == code


def test_a_supervised_command_s_crash_is_the_agent_s_exit_code():
    """End to end: the command's code is neither lost nor turned into another."""
    command = [sys.executable, "-c", "import os; os._exit(0xC0000005 - (1 << 32))"]
    settings = {
        "SIDECAR_HEALTH_ADDRESS": "off",
        "SIDECAR_RELAY": "off",
        "SIDECAR_DOCKER_PROXY": "off",
        "ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "run", "--", *command],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0xC0000005, done.stderr


@pytest.mark.parametrize("style", ["json", "console"])
def test_redirected_output_is_utf_8(style):
    """Whatever the code page is: an event with a letter that it lacks would be lost."""
    program = (
        "import structlog\n"
        "from sidecar import host\n"
        "from sidecar.log import events\n"
        "host.prepare_output()\n"
        f"events.configure({style!r}, 'info')\n"
        "structlog.get_logger().info('listener.printed', line='\\u221a \\u00e9 \\u4e16')\n"
        "print('\\u221a', flush=True)\n"
    )
    with start(program, env=os.environ | {"PYTHONIOENCODING": "", "PYTHONUTF8": "0"}) as process:
        output = process.communicate(timeout=60)[0]
    event, plain = output.decode("utf-8").split("\n")[:2]
    assert "listener.printed" in event
    assert "√ é 世" in event or r"\u221a" in event
    assert plain == "√"


def test_a_terminal_s_log_needs_no_other_package(monkeypatch):
    """Colours need one there, which the agent does not bring."""
    from sidecar.log import events

    monkeypatch.setitem(sys.modules, "colorama", None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    events.configure("console", "info")


def test_the_agent_s_user_needs_no_variable(monkeypatch):
    """Containers may have none that names it."""
    for name in ("USERNAME", "USER", "LOGNAME", "LNAME"):
        monkeypatch.delenv(name, raising=False)
    name = ctypes.create_unicode_buffer(256)
    size = ctypes.c_uint32(256)
    assert ctypes.windll.advapi32.GetUserNameW(name, ctypes.byref(size))
    assert host.agent_user_name() == name.value


def test_socket_errors_have_the_same_words_everywhere():
    """Not "unknown error", nor the system's own language."""
    import asyncio
    import socket

    with pytest.raises(OSError, match=r".") as refused:
        socket.create_connection(("127.0.0.1", 9), timeout=5)
    assert host.explain_error(refused.value) == "connection refused"

    async def connect():
        await asyncio.open_connection("127.0.0.1", 9)

    with (
        asyncio.Runner(loop_factory=asyncio.ProactorEventLoop) as runner,
        pytest.raises(OSError, match=r".") as refused,
    ):  # by another code, from the Proactor loop
        runner.run(connect())
    assert host.explain_error(refused.value) == "connection refused"
    with (
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.socket() as second,
        pytest.raises(OSError, match=r".") as used,
    ):
        second.bind(first.getsockname())
    assert host.explain_error(used.value) == "address already in use"
