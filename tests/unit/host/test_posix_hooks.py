"""Job hooks on POSIX: the FIFO, and the scripts that write to it."""

import asyncio
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sidecar import host
from tests.support.loops import on_both, run
from tests.unit.host.nobody import NOBODY, as_nobody

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)


class Events:
    """What the hooks sent; waits for a number of events."""

    def __init__(self):
        self.received = []
        self._came = asyncio.Event()

    def __call__(self, event):
        """Take one event."""
        self.received.append(event)
        self._came.set()

    async def count(self, number):
        """Wait until so many events have come."""
        while len(self.received) < number:
            self._came.clear()
            await self._came.wait()


def write_hook(folder, event, channel, user_hook=None, root=Path("/nowhere"), variables=None):
    """Write one hook as the agent does."""
    path = folder / f"job-{event}.sh"
    script = host.build_hook_script(event, channel, user_hook and str(user_hook), root, variables)
    host.write_new(path, script.encode(), 0o755, None)
    return path


def run_hook(path, **env):
    """Run a hook as the runner does: by a shell that stops at the first error."""
    return subprocess.run(
        ["bash", "-e", str(path)],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@on_both
def test_a_hook_s_event_reaches_the_agent(loop, tmp_path):
    """Run by a shell, through a path with blanks and quotes in it, without any output."""
    folder = tmp_path / "it's a folder"
    folder.mkdir()

    async def life():
        events = Events()
        async with host.open_hook_channel(folder, None, events) as channel:
            for number, event in enumerate(("started", "completed"), 1):
                ended = await asyncio.to_thread(run_hook, write_hook(folder, event, channel))
                assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
                await events.count(number)
        assert events.received == ["started", "completed"]
        assert not channel.exists()

    run(loop, life())


@on_both
def test_several_events_at_once_are_all_read(loop, tmp_path):
    """Bytes that are no text, and more than one read takes, do no harm."""

    async def life():
        events = Events()
        async with host.open_hook_channel(tmp_path, None, events) as channel:
            with channel.open("wb", buffering=0) as fifo:
                fifo.write(b"started\ncompleted\n\xff\n" + b"x" * 10000 + b"\n")
            await events.count(5)
            assert events.received[:3] == ["started", "completed", "\ufffd"]
            channel.unlink()  # as a job could, where the agent is not root

    run(loop, life())


@pytest.mark.parametrize("gone", ["removed", "dead", "full"])
def test_a_hook_fails_open_when_the_agent_is_gone(tmp_path, gone):
    """No FIFO, one without a reader, one that is full: the job goes on within about a second."""
    channel = tmp_path / "hook"
    held = None
    if gone != "removed":
        os.mkfifo(channel)
    if gone == "full":
        held = os.open(channel, os.O_RDWR | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(held, b"x" * 4096)
    ended = run_hook(write_hook(tmp_path, "started", channel))
    if held is not None:
        os.close(held)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_hook_needs_nothing_but_a_shell(tmp_path):
    """Without `timeout` on PATH it sends nothing, and the job goes on."""
    path = write_hook(tmp_path, "started", tmp_path / "hook")
    ended = subprocess.run(
        ["/bin/sh", str(path)], env={"PATH": "/nowhere"}, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


VARIABLES = {"URI": "/v2/it's", "REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({}, ["URI", "REGION"]),
        ({"URI": "/v2/it's", "REGION": "us-east-1"}, ["URI"]),
        ({"REGION": ""}, ["URI"]),
        ({"AWS_ACCESS_KEY_ID": "x"}, []),
        ({"AWS_ACCESS_KEY_ID": ""}, []),
    ],
)
def test_a_job_s_containers_get_the_variables_that_the_job_has_not_set(tmp_path, env, names):
    """They are appended to GITHUB_ENV; another value in the job's own environment is kept."""
    file = tmp_path / "github_env"
    file.write_text("BEFORE=1\n")
    path = write_hook(tmp_path, "started", tmp_path / "gone", variables=VARIABLES)
    ended = run_hook(path, GITHUB_ENV=str(file), **env)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    expected = ["BEFORE=1", *(f"{name}={VARIABLES[name]}" for name in names)]
    assert file.read_text().splitlines() == expected


@pytest.mark.parametrize("file", [None, "", "/nowhere/github_env"])
def test_a_job_without_that_file_goes_on(tmp_path, file):
    """An older runner has none; no job fails for a missing or unusable file."""
    path = write_hook(tmp_path, "started", tmp_path / "gone", variables=VARIABLES)
    ended = run_hook(path, **({} if file is None else {"GITHUB_ENV": file}))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("code", [0, 3])
def test_the_user_s_own_hook_follows(tmp_path, code):
    """It has the runner's environment, `bash -e` and its output; its exit code is the hook's."""
    own = tmp_path / "it's mine.sh"
    own.write_text(f'echo "$GITHUB_JOB ${{BASH_VERSION:+bash}}"\n(exit {code})\necho went on\n')
    ended = run_hook(write_hook(tmp_path, "started", tmp_path / "gone", own), GITHUB_JOB="build")
    assert ended.returncode == code
    assert ended.stdout == "build bash\n" + ("went on\n" if code == 0 else "")


def test_without_bash_the_user_s_hook_is_run_by_sh(tmp_path):
    """An image may have no bash."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    own = tmp_path / "own.sh"
    own.write_text("echo ${BASH_VERSION:-no bash}\nexit 4\n")
    ended = subprocess.run(
        ["/bin/sh", str(write_hook(tmp_path, "started", tmp_path / "gone", own))],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 4
    if Path("/bin/sh").resolve().name != "bash":
        assert ended.stdout == "no bash\n"


def test_a_user_s_hook_that_is_missing_fails(tmp_path):
    """As it would without the agent: the job must not run without its preparation."""
    assert (
        run_hook(write_hook(tmp_path, "started", tmp_path / "gone", tmp_path / "own.sh")).returncode
        != 0
    )


def test_a_javascript_hook_is_run_by_the_runner_s_newest_node(tmp_path):
    """Not by the one for Alpine, which no other system can start."""
    for version in ("node20", "node20_alpine", "node24", "node24_alpine"):
        program = tmp_path / "externals" / version / "bin" / "node"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\necho "{version} $1"\nexit 6\n')
        program.chmod(0o755)
    ended = run_hook(write_hook(tmp_path, "started", tmp_path / "gone", "/own/hook.js", tmp_path))
    assert (ended.returncode, ended.stdout) == (6, "node24 /own/hook.js\n")


def test_a_powershell_hook_is_run_by_powershell(tmp_path):
    """The runner does the same on Linux."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pwsh").write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    (tools / "pwsh").chmod(0o755)
    path = write_hook(tmp_path, "started", tmp_path / "gone", "/own/hook.PS1")
    ended = run_hook(path, PATH=f"{tools}:{os.environ['PATH']}")
    assert (ended.returncode, ended.stdout) == (7, "-NoLogo -Command . '/own/hook.PS1'\n")


@pytest.mark.root
@on_both
def test_only_the_runner_s_user_can_write_to_the_channel(loop, open_path):
    """The FIFO is that user's alone, in a folder that the user cannot change."""
    state = open_path / "state"
    host.make_private_folder(state)

    async def life():
        events = Events()
        async with host.open_hook_channel(state, NOBODY, events) as channel:
            found = channel.stat()
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY.uid, 0o600)
            path = write_hook(state, "started", channel)
            assert (await asyncio.to_thread(as_nobody, 'sh -e "$1"', path))[0] == 0
            await events.count(1)
            assert (await asyncio.to_thread(as_nobody, 'rm -f "$1"', channel))[0] != 0

    run(loop, life())
