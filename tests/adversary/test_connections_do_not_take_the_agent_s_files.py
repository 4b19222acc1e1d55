"""A local process that opens connections without end takes none of the files that the agent needs.

Each connection is an open file of the agent's, and a process may have only so many.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import resource
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import aiohttp
import pytest

from sidecar import host
from sidecar.net.file_budget import count_connections, divide_files
from tests.lives.stage import ON_UVLOOP, ROOT, open_stage, run_side_by_side

if sys.platform == "win32":
    pytest.skip("Windows has no limit of open files", allow_module_level=True)

from sidecar.host.posix import open_files

UNMENDED = """
import sys
from sidecar import host
from sidecar.host import posix_processes
from sidecar.net.http_server import Limits
from sidecar.relay import server
from sidecar.status import health_server
host.raise_file_limit = lambda: None
processes = posix_processes._processes
def uncaught():
    try:
        yield from processes()
    except OSError as error:
        raise RuntimeError(str(error)) from error  # no caller expected that
posix_processes._processes = uncaught
health_server._limits = Limits
server._limits = lambda: server.LIMITS
from sidecar.__main__ import main
sys.exit(main(["run", *sys.argv[1:]]))
"""
"""An agent with the limit that it was started with, which each of its addresses alone can fill."""
FEW = 128
"""Files that the agent may have open: a few dozen more than it needs itself."""
CONNECTIONS = {"health": 2 * FEW, "relay": 1000}
"""The number of connections that a job opens, to each of the agent's addresses."""


def limited(argv, hard=FEW):
    """Return a command that runs `argv` with few files; it may raise that to `hard`."""
    return ("sh", "-c", f'ulimit -Sn {FEW} && ulimit -Hn {hard} && exec "$@"', "sh", *argv)


@pytest.fixture
def _many_files():
    """Let this process have a file for each of those connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("address", CONNECTIONS)
@pytest.mark.parametrize(
    ("argv", "code"),
    [(ON_UVLOOP, 0), ((sys.executable, "-c", UNMENDED), 10)],
    ids=["mended", "unmended"],
)
@pytest.mark.usefixtures("_many_files")
def test_a_full_address_does_not_end_the_agent(aws, argv, code, address):
    """The job ends well, all is cleaned up, and who asks for the health gets an answer.

    With the limit used up, an unmended agent cannot look for the job's processes, and crashes: what
    the job left runs on, and the token, the runner and the protection may stay.
    """
    number = CONNECTIONS[address]

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            gate, open_gate = stage.make_gate()
            job = stage.job('echo "files:"$(ulimit -Sn)', gate)
            env = {"SIDECAR_HEALTH_ADDRESS": "127.0.0.1:0"}
            async with stage.life(limited(argv), env=env) as life:
                await stage.wait_for_output(job, "at the gate")
                port = life.find_events(f"{address}.started")[0]["port"]
                async with holding(port, number, enough=16 if code == 0 else 2 * FEW):
                    if code == 0:
                        await check_health(life.find_events("health.started")[0]["port"])
                        open_gate()
                        await stage.check_end(life, code)
                        await stage.wait_for_output(job, f"files:{FEW}")
                        return
                    life.signal()
                    await life.wait_for_event("stop.requested")
                    life.signal()  # interrupt the job at once
                    assert await life.wait_for_end() == code
                    assert "Too many open files" in life.text

    run_side_by_side(play())


class holding:  # noqa: N801  reads as a verb
    """Open so many connections to a port within the block, and hold them, each after a request.

    The block begins when `enough` of them are open: a full listener leaves others in the queue.
    """

    def __init__(self, port, number, enough):
        self._port = port
        self._number = number
        self._enough = enough
        self._writers = []

    async def _open(self):
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % self._port)
        self._writers.append(writer)

    async def __aenter__(self):
        self._opening = [asyncio.create_task(self._open()) for _ in range(self._number)]
        for opened in itertools.islice(asyncio.as_completed(self._opening), self._enough):
            await opened

    async def __aexit__(self, *_):
        for opening in self._opening:
            opening.cancel()
        await asyncio.wait(self._opening)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def check_health(port):
    """Ask for the health as a container's healthCheck does."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/healthz") as answer,
    ):
        assert answer.status == 200


# --- the shares -----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [64, 128, 256, 1024, 4096, 65_536, sys.maxsize])
def test_no_share_takes_what_the_agent_needs(limit):
    """All listeners at their limits leave a quarter of the files; once that was less than none."""
    budget = divide_files(limit)
    assert min(budget) > 0
    assert sum(budget) <= limit - min(limit // 4, 256)
    for files in budget:
        served, waiting = count_connections(files)
        assert min(served, waiting) > 0
        assert served + waiting <= max(files, 2)


def test_shares_do_not_grow_with_the_limit():
    """They are fixed where there are enough files: more would only take memory."""
    assert divide_files(65_536) == divide_files(sys.maxsize) == (64, 6144, 4096)


# --- children, and the reserve --------------------------------------------------------------------


PROGRAM = """
import resource, subprocess, sys
from pathlib import Path
from sidecar import host
host.raise_file_limit()
mine = resource.getrlimit(resource.RLIMIT_NOFILE)
{crowd}
child = host.spawn(("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn"), {{}}, Path("/"), None)
text = child.communicate()[0].decode().split()
print(*mine, *text, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_child_gets_back_the_limit_that_the_agent_was_started_with():
    """The agent's own is raised to the hard limit, before and after that."""
    said = run_program(PROGRAM.format(crowd=""), soft=100, hard=400)
    assert said == ["400", "400", "100", "400", "400", "400"]


def test_a_child_is_started_while_more_files_are_open_than_it_may_have():
    """It then gets its limit just after its start: here it may have read the agent's before."""
    crowd = "import os; crowd = [os.open('/dev/null', 0) for _ in range(200)]"
    said = run_program(PROGRAM.format(crowd=crowd), soft=100, hard=400)
    assert said[:2] == said[4:] == ["400", "400"]
    assert said[2] in ("100", "400")


def run_program(program, *, soft, hard):
    """Run a Python program with these limits of open files; return the words that it prints."""
    argv = ("sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh")
    return subprocess.run(
        [*argv, sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()


FULL = """
import errno, os, resource, sys
from pathlib import Path
from sidecar import host
host.raise_file_limit()
if {unmended}:
    host.free_reserve()
try:
    while True:
        os.open("/dev/null", 0)
except OSError as error:
    assert error.errno == errno.EMFILE
print(len(host.list_children()), end=" ")
try:
    child = host.spawn(("/bin/sh", "-c", "read line"), {{}}, Path("/"), None)
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    child.wait()
    print("started")
"""


@pytest.mark.parametrize("unmended", [False, True], ids=["mended", "unmended"])
def test_with_every_file_taken_the_reserve_is_used(unmended):
    """Processes are found, and children started; without a reserve there is an error of its own."""
    said = run_program(FULL.format(unmended=unmended), soft=100, hard=100)
    assert said == ["0", "EMFILE" if unmended else "started"]


def test_a_system_that_allows_no_more_is_no_error(monkeypatch):
    """The agent goes on with the limit that it has; its children then have the same."""
    refuse = SimpleNamespace(
        getrlimit=resource.getrlimit,
        setrlimit=lambda *_: (_ for _ in ()).throw(ValueError("not allowed")),
    )
    monkeypatch.setattr(open_files, "resource", refuse)
    monkeypatch.setattr(open_files, "_given", given := [])
    monkeypatch.setattr(open_files, "_reserve", [])
    with ExitStack() as stack:
        stack.callback(host.free_reserve)
        host.raise_file_limit()
        assert given == []
        child = open_files.start_program(("/bin/true",))
        assert child.wait() == 0


def test_other_errors_are_not_retried(monkeypatch):
    """A program that is missing is an error at once, and takes nothing of the reserve."""
    reserve = [os.open(os.devnull, os.O_RDONLY)]
    monkeypatch.setattr(open_files, "_reserve", reserve)
    try:
        with pytest.raises(OSError, match="nowhere") as raised:
            open_files.start_program(("/nowhere",))
        assert raised.value.errno == errno.ENOENT
        assert len(reserve) == 1
    finally:
        host.free_reserve()
