"""A listener that a job made to end proves nothing: only GitHub's answer is called "removed"."""

import asyncio

import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from sidecar.errors import RegistrationError
from sidecar.runner import deregistration
from sidecar.runner.deregistration import Deregistration
from tests.unit.runner.test_deregistration import (
    Services,
    added,
    end_listener,
    github,
    make_deregistration,
    methods,
    registered,
)

ENDS = {"it deleted .runner and ended it with 0": 0, "its worker ended with 100": 100}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Look again after a moment, and without the library's own log."""
    growing = deregistration.growing
    monkeypatch.setattr(
        deregistration,
        "growing",
        lambda kinds, **_: growing(kinds, first=0.01, longest=0.02),
    )
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


async def believe(self, runner):
    """Take the listener's end for GitHub's removal, as the agent did once."""
    return True


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_runner_that_github_still_knows_is_deleted(mended, how, monkeypatch):
    """The job took the runner's key with it; once the runner is deleted, that opens no session."""
    if not mended:
        monkeypatch.setattr(Deregistration, "_was_removed_by_github", believe)

    async def play():
        async with github() as (world, connection):
            runner = added(world)
            removal = make_deregistration(connection, registered(runner_id=runner.id))
            end_listener(removal, ENDS[how])
            await removal.deregister()
            return [one.id for one in world.runners]

    with capture_logs() as logs:
        left = asyncio.run(play())
    assert bool(left) is not mended
    assert methods(logs) == (["api"] if mended else ["github"])


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_what_cannot_be_asked_is_not_called_done(mended, monkeypatch):
    """Without a credential, a young token and a key: the step fails, and so the life says it."""
    if not mended:
        monkeypatch.setattr(Deregistration, "_was_removed_by_github", believe)

    async def play():
        removal = make_deregistration(None, registered(runner_id=7))
        end_listener(removal)
        return await removal.deregister()

    with capture_logs() as logs:
        if mended:
            with pytest.raises(RegistrationError):
                asyncio.run(play())
        else:
            assert asyncio.run(play()) == "github"
    assert methods(logs) == ([] if mended else ["github"])


def test_the_runner_s_own_key_is_enough_to_ask():
    """The services still know it, and nothing can remove it: that is said, as often as asked."""

    async def play():
        services = Services(usable_token=None, known=True)
        removal = make_deregistration(None, registered(runner_id=7), service=services)
        end_listener(removal)
        with pytest.raises(RegistrationError):
            await removal.deregister()
        assert services.asked == deregistration.LOOKS_ALONE

    with capture_logs() as logs:
        asyncio.run(play())
    assert methods(logs) == []
