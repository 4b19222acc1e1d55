"""The stand-in of the runner's program on Windows, as a supervisor meets it: real processes only.

What it does on every system, `tests/local/test_runner_program.py` and the recorded lives show.
"""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from local import github
from local.agent import make_folder, misbehave
from local.github.scope import Scope
from tests.windows.life import LISTENER, SLEEPER
from tests.windows.wine import (
    CTRL_BREAK,
    CTRL_C,
    CTRL_CLOSE,
    CTRL_SHUTDOWN,
    NEW_PROCESS_GROUP,
    translate,
)

ENDED_BY_THE_SYSTEM = 0xC000013A
CRASHED = 0xE0434352
PATIENCE = 300.0
BOM = b"\xef\xbb\xbf"
DESCRIBE = """\
import json, os, sys
from runner_program import windows_files
found = {name: os.stat(name).st_file_attributes & 2 for name in os.listdir() if name[0] == "."}
with open(".credentials_rsaparams", "rb") as file:
    print(json.dumps([found, windows_files.unseal(file.read()).decode()]))
"""


@pytest.fixture
def runner(find_runner):
    """Return a runner's folder, to be copied."""
    return find_runner("3.11")


class Stage:
    """One GitHub, one runner's folder."""

    def __init__(self, wine, served, root):
        self.wine, self.root, self.world = wine, root, served.world
        self.url = f"{served.url}/octo/demo"

    async def call(self, *words):
        """Run the listener to its end: its code and what it printed."""
        return await asyncio.to_thread(self.wine.run, [self.listener, *words], cwd=self.root)

    def start(self, *words):
        """Start the listener as the agent does."""
        return self.wine.start([self.listener, *words], cwd=self.root, flags=NEW_PROCESS_GROUP)

    @property
    def listener(self):
        """Its program, as Windows names it."""
        return translate(self.root / "bin" / LISTENER)

    def make_words(self):
        """Return the words of a configure."""
        token = self.world.mint("registration", Scope.of_path("/repos/octo/demo")).value
        return ["configure", "--unattended", "--ephemeral", "--url", self.url, "--token", token]

    async def configure(self):
        """Configure, and be sure of it."""
        done = await self.call(*self.make_words(), "--name", "one")
        assert done.code == 0, done.output

    def queue(self, *steps):
        """Queue a job."""
        wanted = {"name": "build", "steps": [{"run": step} for step in steps]}
        return self.world.jobs.add(wanted, self.world.now())

    async def run_python(self, program):
        """Run a Python program in the runner's folder; return what it printed."""
        path = self.root / "program.py"
        path.write_text(f"import sys\nsys.path.insert(0, 'bin/lib')\n{program}")
        argv = [self.wine.python("3.11"), translate(path)]
        done = await asyncio.to_thread(self.wine.run, argv, cwd=self.root)
        assert done.code == 0, done.output
        return done.output

    async def wait_for(self, look):
        """Wait for GitHub to see something."""
        assert await self.world.changes.until(lambda: look() or None, PATIENCE), "never came"


def play(wine, runner, story):
    """Play one story on a stage."""

    async def run():
        with make_folder("runner-") as folder:
            async with github.serving() as served:
                root = shutil.copytree(runner, folder / "runner")
                await asyncio.wait_for(story(Stage(wine, served, root)), PATIENCE)

    asyncio.run(run())


def test_configure_writes_hidden_files_and_seals_the_key(wine, runner):
    """CRLF and a byte order mark in JSON; the key's JSON, without either, can be unsealed again."""

    async def story(stage):
        await stage.configure()
        settings = (stage.root / ".runner").read_bytes()
        assert settings.startswith(BOM + b"{\r\n")
        assert b"\n" not in settings.replace(b"\r\n", b"")
        sealed = (stage.root / ".credentials_rsaparams").read_bytes()
        assert b"modulus" not in sealed
        assert not sealed.startswith(BOM)
        hidden, key = json.loads(await stage.run_python(DESCRIBE))
        assert json.loads(key)["exponent"] == "AQAB"
        assert all(hidden[name] for name in (".runner", ".credentials", ".credentials_rsaparams"))
        done = await stage.call("remove", "--local")
        assert done.code == 0, done.output
        assert not (stage.root / ".runner").exists()

    play(wine, runner, story)


def test_a_job_runs_in_cmd_and_its_orphans_are_ended(wine, runner):
    """A step's variables reach the next one; what still has the job's mark is ended, and named."""

    async def story(stage):
        await stage.configure()
        python = wine.python("3.11")
        (stage.root / "sleeper.py").write_text(SLEEPER)
        job = stage.queue(
            "echo GIVEN=on>> %GITHUB_ENV%",
            "echo it is %GIVEN%\necho %RUNNER_OS%-%RUNNER_ARCH%",
            f"start /b {python} -I {translate(stage.root / 'sleeper.py')}",
            "echo fails\nexit 3",
        )
        done = await stage.call("run")
        assert done.code == 0, done.output
        assert (job.result, job.steps[3].result) == ("failed", "failed")
        assert "it is on\nWindows-X64\n" in job.steps[1].log
        assert "##[error]Process completed with exit code 3.\n" in job.steps[3].log
        assert "Terminate orphan process: pid (" in job.runner_logs["Complete job"]
        assert "(python.exe)" in job.runner_logs["Complete job"]
        assert wine.find_left() == []

    play(wine, runner, story)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (CTRL_C, 0),
        (CTRL_BREAK, 0),
        (CTRL_CLOSE, ENDED_BY_THE_SYSTEM),
        (CTRL_SHUTDOWN, ENDED_BY_THE_SYSTEM),
    ],
)
def test_a_console_event_ends_an_idle_listener(wine, runner, event, code):
    """Its session ends at GitHub in any case; after "close" and "shutdown" the code is Windows'."""

    async def story(stage):
        await stage.configure()
        listener = stage.start("run")
        await stage.wait_for(lambda: any(each.polls for each in stage.world.sessions.values()))
        wine.send_event(listener.pid, event)
        assert await asyncio.to_thread(listener.wait) == code
        # Its end is told beside its output, and may be told first.
        await asyncio.to_thread(listener.wait_for_output)
        assert ("Exiting..." in listener.lines) is (event in (CTRL_C, CTRL_BREAK))
        assert stage.world.sessions == {}

    play(wine, runner, story)


@pytest.mark.parametrize(("event", "code"), [(CTRL_C, 1), (CTRL_SHUTDOWN, ENDED_BY_THE_SYSTEM)])
def test_a_console_event_ends_configure_at_once(wine, runner, event, code):
    """Even while it hangs."""

    async def story(stage):
        misbehave(stage.root, configure="hang")
        configure = stage.start(*stage.make_words())
        await asyncio.to_thread(configure.wait_for_line, "# Authentication")
        wine.send_event(configure.pid, event)
        assert await asyncio.to_thread(configure.wait) == code

    play(wine, runner, story)


def test_a_crash_and_what_the_scripts_hide(wine, runner):
    """A crash has .NET's code; run.cmd makes 0 of a 1, config.cmd passes it on."""

    async def story(stage):
        for script, code in (("run.cmd", 0), ("config.cmd", 1)):
            argv = ["cmd.exe", "/c", translate(stage.root / script)]
            done = await asyncio.to_thread(wine.run, argv, cwd=stage.root)
            assert done.code == code, done.output
        await stage.configure()
        misbehave(stage.root, run="crash-before-listening")
        assert (await stage.call("run")).code == CRASHED

    play(wine, runner, story)


def test_a_daemon_may_stay_behind(wine, runner):
    """spawn_daemon: it outlives job and listener, unmarked, and `_diag/daemon.pid` names it."""

    async def story(stage):
        misbehave(stage.root, spawn_daemon=True)
        await stage.configure()
        job = stage.queue("echo hello")
        assert (await stage.call("run")).code == 0
        assert job.result == "succeeded"
        pid = int((stage.root / "_diag" / "daemon.pid").read_text())
        assert wine.find_left(pid) == []
        assert [each.pid for each in wine.list_processes()] == [pid]
        wine.terminate(pid)
        wine.wait_for_end(pid)

    play(wine, runner, story)
