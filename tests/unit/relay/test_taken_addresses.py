"""Where there are rules for containers, an address is judged by what the engine says now.

Another container may have taken it a moment ago, and the engine's event is yet to come.
"""

from __future__ import annotations

import asyncio

import pytest

from sidecar.net.http_server import Request
from sidecar.relay import running_beside
from sidecar.relay.protocol import deny

STEP, ADDRESS, OTHER = "127.0.0.1", "172.17.0.2", "172.17.0.3"
REFUSAL = deny("told none")


class Asker:
    """A request that may wait, as a connection's does: it is answered once more, then for good."""

    def __init__(self, core, peer=ADDRESS):
        self.core, self.peer = core, peer
        answer = core.ask(core.path, peer=peer)
        self.status = answer.status
        self.waits = answer.wait_in is not None
        if self.waits:
            answer.wait_in.add(self)

    def resume(self):
        """Ask again, as after a wait."""
        request = Request(
            "GET", self.core.path, {"host": "169.254.170.2"}, self.peer, has_waited=True
        )
        answer = self.core.router.answer(request)
        self.status, self.waits = answer.status, False


class Engine:
    """Tells who has which address, when it is told to answer."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.asked = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def inspect(self, container):
        """Return a container's addresses."""
        self.asked.append(container)
        await self.may_answer.wait()
        return frozenset(self.addresses.get(container, ()))


async def settle():
    """Let the engine be asked, and who waits be answered."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def separated(core):
    """Return a relay with rules for containers, and one container that has a role."""
    core.identities.separate(lambda peer: peer == STEP, deny("unknown"))
    core.identities.assign(core.identities.mint(), "old", [ADDRESS])
    return core


def play(run, core, engine, script):
    """Run a script while the engine is asked."""

    async def case():
        made = engine()
        core.identities.inspect = made.inspect
        async with running_beside(core.identities.verify()):
            await script(made)

    run(case())


def test_without_starts_nobody_is_asked_about(run, separated):
    """A known address is answered at once, and so are the job's steps."""

    async def script(engine):
        assert [Asker(separated, peer).status for peer in (ADDRESS, STEP)] == [200, 200]
        assert engine.asked == []

    play(run, separated, lambda: Engine({}), script)


def test_an_address_that_was_taken_during_a_start_is_not_the_old_container_s(run, separated):
    """The old one has ended, the engine says so, and no event has come of either."""

    async def script(engine):
        replay = separated.ask(separated.path, peer=ADDRESS).replay
        assert replay()
        separated.identities.begin_start()
        assert replay() is None
        asker = Asker(separated)
        assert asker.waits
        await settle()
        assert engine.asked == ["old"]
        asker.resume()
        assert asker.status == 503
        assert Asker(separated, STEP).status == 200

    play(run, separated, lambda: Engine({}), script)


@pytest.mark.parametrize("ended", [False, True], ids=["during-the-start", "after-it"])
def test_a_container_that_still_has_its_address_is_answered(run, separated, ended):
    """After the engine said so; and after the start that is enough."""

    async def script(engine):
        separated.identities.begin_start()
        if ended:
            separated.identities.end_start()
        asker = Asker(separated)
        assert asker.waits
        await settle()
        assert (asker.status, asker.waits) == (200, False)
        assert Asker(separated).waits is not ended

    play(run, separated, lambda: Engine({"old": {ADDRESS}}), script)


def test_an_answer_from_before_a_request_is_none(run, separated):
    """The engine was asked, then the address was taken: the next answer counts."""

    async def script(engine):
        separated.identities.begin_start()
        engine.may_answer.clear()
        first = Asker(separated)
        await settle()
        second = Asker(separated)
        assert first.waits
        assert second.waits
        engine.may_answer.set()
        await settle()
        assert engine.asked == ["old", "old"]
        assert (first.status, second.status) == (200, 200)

    play(run, separated, lambda: Engine({"old": {ADDRESS}}), script)


def test_who_waits_too_long_is_told_to_come_again(run, separated):
    """Not by the role that the address had: the engine has not answered."""

    async def script(engine):
        separated.identities.begin_start()
        engine.may_answer.clear()
        asker = Asker(separated)
        await settle()
        asker.resume()
        assert asker.status == 503
        engine.may_answer.set()

    play(run, separated, lambda: Engine({"old": {ADDRESS}}), script)


def test_a_new_container_may_ask_before_its_event_comes(run, separated):
    """It waits until its address is known, and has its own answer then."""

    async def script(engine):
        path = separated.identities.mint(refusal=REFUSAL)
        separated.identities.assign(path, "new")
        assert not Asker(separated, OTHER).waits
        separated.identities.begin_start()
        separated.identities.end_start()
        asker, stranger = Asker(separated, OTHER), Asker(separated, "172.17.0.9")
        assert asker.waits
        assert stranger.waits
        separated.identities.resume("new")
        await settle()
        assert (asker.status, asker.waits) == (403, False)
        assert stranger.waits
        separated.now += 2.5
        assert (Asker(separated, "172.17.0.9").status, stranger.waits) == (403, True)

    play(run, separated, lambda: Engine({"new": {OTHER}}), script)


def test_the_waiting_of_strangers_takes_no_memory(separated):
    """Who has waited is forgotten, however many addresses there were."""
    separated.identities.begin_start()
    for number in range(1000):
        asker = Asker(separated, f"172.17.{number // 250}.{number % 250}")
        if asker.peer == ADDRESS:
            continue
        assert asker.waits
        separated.router._unknown[asker.peer].remove(asker)
    assert len(separated.router._unknown) <= 257
