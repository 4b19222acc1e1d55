"""The life of a runner: its ends before anything is registered. tests/lives has whole lives."""

import asyncio

import pytest

from sidecar import host, phase
from sidecar.errors import RunnerError, Stopped
from sidecar.lifecycle import runner_life
from sidecar.settings.load import load
from sidecar.shutdown.stop import Stop
from sidecar.status.report import Report
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
                await runner_life.live(config, Stop(10), report)
        assert "runner" in {step.name for step in report.cleanup_stack.steps}
        assert report.cleanup_stack.not_done == {}
        assert list(report.phase.durations) == [phase.STARTING, phase.WAITING, phase.CONFIGURING]

    run("asyncio", play())
