"""Job hooks on Windows: a named pipe, and PowerShell scripts."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows (make test-windows)", allow_module_level=True)

from sidecar import host
from sidecar.host.win32 import pipes, powershell
from tests.support.windows import open_pipe

ROOT = Path(pipes.__file__).parents[3]


def run(coroutine):
    """Run a coroutine on the agent's own loop, for 60 seconds at most."""
    with asyncio.Runner(loop_factory=host.loop_factory()) as runner:
        return runner.run(asyncio.wait_for(coroutine, 60))


def write(channel, line):
    """Write to the channel as a hook does."""
    with open_pipe(channel) as pipe:
        pipe.write(line)


def test_each_hook_s_line_is_an_event(tmp_path):
    """One after the other, each by a client of its own."""

    async def life():
        events = asyncio.Queue()
        async with host.open_hook_channel(tmp_path, None, events.put_nowait) as channel:
            for event in ("started", "completed"):
                await asyncio.to_thread(write, channel, f"{event}\n".encode())
                assert await events.get() == event
        with pytest.raises(FileNotFoundError):
            write(channel, b"late\n")
        assert events.empty()

    run(life())


def test_two_agents_have_two_channels(tmp_path):
    """Named pipes have one folder for the whole machine."""

    async def life():
        async with (
            host.open_hook_channel(tmp_path, None, print) as first,
            host.open_hook_channel(tmp_path, None, print) as second,
        ):
            assert first != second

    run(life())


def test_a_client_that_stays_is_closed_in_silence(tmp_path):
    """Python complains about a pipe that is not closed, on the agent's own output."""
    program = (
        "import asyncio, gc, sys\n"
        "from pathlib import Path\n"
        "from sidecar import host\n"
        "async def life():\n"
        "    events = asyncio.Queue()\n"
        "    async with host.open_hook_channel(Path(), None, events.put_nowait) as channel:\n"
        "        client = await asyncio.to_thread(channel.open, 'wb', buffering=0)\n"
        "        await asyncio.to_thread(client.write, b'started\\n')\n"
        "        print(await events.get())\n"
        "    client.close()\n"
        "with asyncio.Runner(loop_factory=host.loop_factory()) as runner:\n"
        "    runner.run(life())\n"
        "gc.collect()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"started\r\n", b"")


def test_too_long_a_line_is_no_event(tmp_path):
    """It is not kept either."""

    async def life():
        events = asyncio.Queue()
        async with host.open_hook_channel(tmp_path, None, events.put_nowait) as channel:
            await asyncio.to_thread(write, channel, b"x" * 100_000)
            await asyncio.to_thread(write, channel, b"started\n")
            assert await events.get() == "started"
        assert events.empty()

    run(life())


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", "'plain'"),
        ("it's", "'it''s'"),
        ("a\u2019b", "'a\u2019\u2019b'"),
        ("$x`n", "'$x`n'"),
    ],
)
def test_powershell_takes_a_literal_as_it_is(text, literal):
    """Also with the quotes of a word processor, each of which ends a literal there."""
    assert powershell.quote(text) == literal


def test_a_script_with_other_letters_begins_with_a_mark():
    """Windows PowerShell reads a file without it in the system's code page."""
    plain = host.build_hook_script("started", Path(r"\\.\pipe\x"), r"C:\hook.ps1", Path("C:/r"))
    assert plain.encode().startswith(b"# Tells")
    odd = host.build_hook_script("started", Path(r"\\.\pipe\x"), "C:\\h\u00f6\u00f6k.ps1", Path())
    assert odd.encode().startswith(b"\xef\xbb\xbf# Tells")
    assert ". 'C:\\h\u00f6\u00f6k.ps1'\n" in odd


@pytest.mark.parametrize(
    ("hook", "how"),
    [
        (r"C:\a.ps1", ". 'C:\\a.ps1'\nif (-not $?) { exit 1 }\n"),
        (r"C:\a.sh", "& bash -e 'C:\\a.sh'\nexit $LASTEXITCODE\n"),
        (r"C:\a.JS", "& $node 'C:\\a.JS'\nexit $LASTEXITCODE\n"),
    ],
)
def test_the_user_s_own_hook_runs_last(hook, how):
    """By its suffix, as the runner itself would run it."""
    script = host.build_hook_script("completed", Path(r"\\.\pipe\x"), hook, Path("C:/runner"))
    assert script.endswith(how)
