"""The life of a runner: its ends before anything is registered. tests/lives has whole lives."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from sidecar import host, phase
from sidecar.errors import RelayError, RunnerError, Stopped, TokenError
from sidecar.lifecycle import runner_life
from sidecar.settings.load import load
from sidecar.shutdown.stop import Stop
from sidecar.status.report import Report
from sidecar.tokens import RegistrationToken
from tests.support.loops import on_both, run


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Give the configuration of a life without AWS: its folder holds an empty listener."""
    monkeypatch.setattr(host, "is_root", lambda: False)
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    return load(
        [],
        {
            "SIDECAR_TOKEN": "A" * 29,
            "SIDECAR_GITHUB_URL": "https://github.com/octo-org",
            "SIDECAR_RUNNER_DIR": str(tmp_path),
            "SIDECAR_HEALTH_ADDRESS": "off",
            "SIDECAR_RELAY": "off",
            "SIDECAR_DOCKER_PROXY": "off",
            "ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:9",  # nothing answers
        },
    )


@on_both
def test_a_stop_before_the_registration_ends_the_life(loop, config):
    """Nothing is registered, so there is nothing to deregister."""

    async def play():
        stop, report = Stop(10), Report()
        stop.request("SIGTERM")
        async with asyncio.timeout(60):
            with pytest.raises(Stopped, match="stopped by SIGTERM"):
                await runner_life.live(config, stop, report)
        assert report.phase.name == phase.STOPPING
        assert "runner" not in report.cleanup_stack.not_done

    run(loop, play())


def test_what_was_acquired_is_cleaned_up_when_a_step_fails(config):
    """The program of this runner cannot be started; every cleanup step is done all the same."""

    async def play():
        report = Report()
        async with asyncio.timeout(60):
            with pytest.raises(RunnerError):
                await runner_life.live(config, Stop(60), report)
        assert "runner" in {step.name for step in report.cleanup_stack.steps}
        assert report.cleanup_stack.not_done == {}
        assert list(report.phase.durations) == [phase.STARTING, phase.WAITING, phase.CONFIGURING]

    run("asyncio", play())


class Beside:
    """A source of the token, and what serves credentials: each waits for the other."""

    def __init__(self, ends, stop):
        self.ends = ends
        self.stop = stop
        self.asked = asyncio.Event()

    async def wait(self, _timeout):
        """Wait for the token."""
        self.asked.set()
        if self.ends == "token":
            raise TokenError("no token")
        if self.ends != "both":
            await asyncio.Event().wait()
        return TOKEN

    async def serve(self):
        """Serve, once the token is asked for: the task's metadata hang so long."""
        await self.asked.wait()
        if self.ends == "service":
            raise RelayError("no relay")
        if self.ends == "stop":
            self.stop.request("SIGTERM")
        if self.ends != "both":
            await asyncio.Event().wait()


TOKEN = RegistrationToken(token="ABCDEFGHIJKLMNOPQRSTUVWXYZ234")


async def wait_beside(ends, config, monkeypatch):
    """Wait for the token beside the service; return it."""
    stop = Stop(30)
    beside = Beside(ends, stop)
    monkeypatch.setattr(
        runner_life._Life, "_serve_credentials_and_docker", lambda _life: beside.serve()
    )
    monkeypatch.setattr(runner_life, "make_admission", lambda *_: None)
    async with AsyncExitStack() as exit_stack:
        life = runner_life._Life(config, stop, Report(), exit_stack)
        life.source, life.credentials = beside, None
        async with stop.cuts():
            await asyncio.wait_for(life.serve_and_wait_for_token(), 30)
        return life.token


@on_both
def test_the_token_is_asked_for_beside_the_task_s_metadata(loop, config, monkeypatch):
    """The metadata may hang: here they do until the token is asked for, which is no deadlock."""
    assert run(loop, wait_beside("both", config, monkeypatch)) == TOKEN


@on_both
@pytest.mark.parametrize(
    ("ends", "error"), [("service", RelayError), ("token", TokenError), ("stop", Stopped)]
)
def test_what_ends_one_of_the_two_ends_the_other(loop, config, monkeypatch, ends, error):
    """With its own error; a stop cuts both."""
    with pytest.raises(error):
        run(loop, wait_beside(ends, config, monkeypatch))
