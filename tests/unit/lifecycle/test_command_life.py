"""The life of a command: real children, and the agent's stop."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar import host, phase
from sidecar.lifecycle import command_life
from sidecar.settings.load import load
from sidecar.shutdown.stop import Stop
from sidecar.status.report import Report
from tests.support.loops import on_both, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its commands are a shell's")
ENVIRON = {
    "SIDECAR_HEALTH_ADDRESS": "off",
    "SIDECAR_RELAY": "off",
    "SIDECAR_DOCKER_PROXY": "off",
    "ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:9",  # nothing answers
}


@pytest.fixture
def live(monkeypatch):
    """Give a function that lives the life of a shell command; it returns the exit code."""
    monkeypatch.setattr(host, "is_root", lambda: False)

    async def live_(script, stop, report=None):
        config = load(["--", "sh", "-c", script], {**ENVIRON, "PATH": "/usr/bin:/bin"})
        async with asyncio.timeout(60):
            return await command_life.live(config, stop, report or Report())

    return live_


@on_both
@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_command_s(loop, live, script, code):
    """A signal is 128 and its number, as in a shell."""

    async def play():
        report = Report()
        assert await live(script, Stop(10), report) == code
        assert report.phase.name == phase.STOPPING

    run(loop, play())


def test_a_stop_is_forwarded(live, tmp_path):
    """The command ends as it likes, within the budget."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)

    async def play():
        stop, ready = Stop(30), asyncio.Event()
        script = f"trap 'exit 5' TERM; echo ready > {pipe}; while :; do sleep 0.05; done"
        asyncio.get_running_loop().add_reader(reader, ready.set)
        living = asyncio.ensure_future(live(script, stop))
        await ready.wait()
        asyncio.get_running_loop().remove_reader(reader)
        stop.request("SIGTERM")
        return await living

    with capture_logs() as events:
        assert run("asyncio", play()) == 5
    os.close(reader)
    (signalled,) = [event for event in events if event["event"] == "command.signalled"]
    assert (signalled["signal"], signalled["listeners"]) == ("SIGTERM", 0)


def test_a_stop_that_cannot_be_forwarded_is_logged(live, monkeypatch):
    """The command goes on, and is killed within the budget."""
    monkeypatch.setattr(host, "forward_signal", lambda _, name: f"{name} cannot be sent")

    async def play():
        stop, report, busy = Stop(2), Report(), asyncio.Event()
        enter = report.phase.enter
        monkeypatch.setattr(
            report.phase, "enter", lambda name: (enter(name), name == phase.BUSY and busy.set())
        )
        living = asyncio.ensure_future(live("while :; do sleep 0.05; done", stop, report))
        await busy.wait()
        stop.request("SIGTERM")
        return await living

    with capture_logs() as events:
        assert run("asyncio", play()) == 128 + 9
    failed = [event for event in events if event["event"] == "command.signal_failed"]
    assert failed[0]["reason"] == "SIGTERM cannot be sent"
    assert not [event for event in events if event["event"] == "command.signalled"]


def test_a_stop_before_the_command_starts_nothing(live, tmp_path):
    """The exit code is that of the signal."""

    async def play():
        stop = Stop(10)
        stop.request("SIGTERM")
        return await live(f"touch {tmp_path}/started", stop)

    assert run("asyncio", play()) == 128 + 15
    assert not Path(tmp_path / "started").exists()
