"""A container that gets another one's former address is not taken for that other one.

`docker network disconnect` frees an address while the container runs on, and docker gives it to
the next one that joins.
"""

from __future__ import annotations

import asyncio

import pytest

from sidecar.docker import container_listener
from sidecar.relay import running_beside
from sidecar.relay.identities import Identities
from tests.support.upstream import core, run, time, upstream  # noqa: F401
from tests.unit.relay.test_identities import ask_from, let_verify

FREED, KEPT, NEW = "172.18.0.2", "172.17.0.2", "172.19.0.2"
A, B = "a" * 64, "b" * 64


class Containers:
    """The engine's reports of containers and their networks."""

    def __init__(self, identities: Identities) -> None:
        self.addresses = {A: {FREED, KEPT}, B: set[str]()}
        self.answer = asyncio.Event()
        self.answer.set()
        self._identities = identities
        self.on_join, self.on_leave = identities.join, identities.leave

    async def inspect(self, container: str) -> frozenset[str]:
        """Return the addresses as they were when it was asked, once it may answer."""
        found = frozenset(self.addresses[container])
        await self.answer.wait()
        return found

    def happens(self, action: str, container: str, address: str) -> None:
        """Let a container join or leave a network, and report it as the engine does."""
        known = self.addresses[container]
        (known.add if action == "connect" else known.discard)(address)
        actor = {"ID": "n", "Attributes": {"container": container}}
        event = {"Type": "network", "Action": action, "Actor": actor}
        container_listener._handle_event(event, self)


def play(run, core, story):  # noqa: F811
    """Play a story with container A, whose addresses are known, and with B."""

    async def case():
        identities = core.identities
        containers = Containers(identities)
        identities.inspect = containers.inspect
        paths = {}
        for name in (A, B):
            paths[name] = identities.mint()
            identities.assign(paths[name], name, containers.addresses[name])
        async with running_beside(identities.verify()):
            await story(containers, paths)

    run(case())


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_freed_address_is_nobody_s(run, core, monkeypatch, mended):  # noqa: F811
    """From the event on, whoever asks from it is not A, by A's path neither.

    Unmended, B is served by A's path there, and audited as A.
    """
    if not mended:
        monkeypatch.setattr(Identities, "leave", lambda *_: None)

    async def story(containers, paths):
        identities = core.identities
        identity = identities.by_path(paths[A])
        assert identities.by_address(FREED) is identity
        containers.happens("disconnect", A, FREED)
        containers.happens("connect", B, FREED)
        taken_for_a = identities.by_address(FREED) is identity
        assert taken_for_a is not mended
        assert ask_from(core, paths[A], FREED) == ([400] if mended else [200])
        await let_verify()
        if mended:
            assert ask_from(core, paths[A], FREED, KEPT) == [403, 200]
            assert ask_from(core, paths[B], FREED) == [200]
            await let_verify()
            assert identities.by_address(FREED) is identities.by_path(paths[B])

    play(run, core, story)


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_an_answer_from_before_the_event_is_void(run, core, monkeypatch, mended):  # noqa: F811
    """The engine was asked while A still had the address, and answers afterwards.

    Without the count of what was forgotten, the address would be A's again.
    """
    if not mended:
        monkeypatch.setattr(Identities, "_inspect_now", lambda *_: None)
        init = Identities._suspend

        def suspend(self, identity):
            init(self, identity)
            identity.forgotten -= 1

        monkeypatch.setattr(Identities, "_suspend", suspend)

    async def story(containers, paths):
        identities = core.identities
        containers.answer.clear()
        ask_from(core, paths[A], "172.30.0.9")  # a wrong peer: the engine is asked
        await let_verify()
        containers.happens("disconnect", A, FREED)
        containers.answer.set()
        await let_verify()
        taken_for_a = identities.by_address(FREED) is identities.by_path(paths[A])
        assert taken_for_a is not mended
        if mended:
            assert ask_from(core, paths[A], KEPT) == [200]

    play(run, core, story)


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_new_address_is_asked_for_at_once(run, core, monkeypatch, mended):  # noqa: F811
    """A container may ask from a network that it has just joined, with no refusal before."""
    if not mended:
        monkeypatch.setattr(Identities, "join", lambda *_: None)

    async def story(containers, paths):
        containers.happens("connect", A, NEW)
        await let_verify()
        assert ask_from(core, paths[A], NEW) == ([200] if mended else [403])
        assert ask_from(core, paths[A], KEPT) == [200]

    play(run, core, story)


def test_a_container_that_has_not_asked_is_left_alone(run, core):  # noqa: F811
    """Every start and stop reports networks too: these cost no question to the engine."""

    async def story(containers, paths):
        containers.answer.clear()
        containers.happens("connect", B, NEW)
        containers.happens("disconnect", B, NEW)
        core.identities.suspend(A)
        containers.happens("disconnect", A, FREED)
        assert not core.identities._to_inspect
        assert ask_from(core, paths[A], FREED) == [400]

    play(run, core, story)
