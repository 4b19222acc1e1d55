"""`runner-sidecar run`: the choice of the life, and what is logged about retries."""

import asyncio
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.aws.calls import NotFound
from sidecar.cli import run
from sidecar.errors import Exit, Stopped, TokenError
from sidecar.lifecycle import command_life, runner_life
from sidecar.shutdown.signals import Signals
from sidecar.status.report import Report


def config(**given):
    """Make a configuration, as far as `run` needs one."""
    settings = SimpleNamespace(stop_timeout=10.0)
    return SimpleNamespace(**{"command": (), "settings": settings, "machine": {}} | given)


def test_a_command_has_a_life_of_its_own():
    """Without one the life is a runner's."""
    assert run._choose_life(config()) is runner_life.live
    assert run._choose_life(config(command=("true",))) is command_life.live


@pytest.mark.parametrize(
    ("end", "code", "event", "error"),
    [
        (Stopped("stopped by SIGTERM"), Exit.STOPPED, "life.stopped", None),
        (TokenError("cannot read it"), Exit.TOKEN, "life.failed", "cannot read it"),
        (KeyError("x"), Exit.BUG, "life.crashed", "KeyError: 'x'"),
        (Exit.IDLE, Exit.IDLE, None, None),
    ],
)
def test_whatever_ends_a_life_becomes_an_exit_code(monkeypatch, end, code, event, error):
    """And one event that says why, if it is no end as planned."""

    async def live(_config, _stop, _report):
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(run, "_choose_life", lambda _config: live)
    report = Report()
    with capture_logs() as events:
        assert asyncio.run(run._live(config(), Signals(), report)) is code
    assert [logged["event"] for logged in events[1:]] == ([event] if event else [])
    assert report.error == error


def test_a_retry_is_counted_and_logged():
    """But not each look for a token that is not there yet."""
    report = Report()

    async def retry():
        for error in (OSError("no route"), NotFound("not yet")):
            run._report_retry(report, SimpleNamespace(caused_by=error, retry_num=1, wait_for=0.123))

    with capture_logs() as events:
        asyncio.run(retry())
    assert report.retries == {"OSError": 1, "NotFound": 1}
    (scheduled,) = events
    assert (scheduled["event"], scheduled["reason"], scheduled["seconds"]) == (
        "retry.scheduled",
        "no route",
        0.12,
    )
