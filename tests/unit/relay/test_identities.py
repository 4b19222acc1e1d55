"""Paths of their own: one container's, from before it is there until it is gone."""

from __future__ import annotations

import asyncio
import base64

import pytest
from structlog.testing import capture_logs

from sidecar.relay import running_beside
from sidecar.relay.identities import MOST

ONE, OTHER = "172.17.0.2", "172.17.0.3"


def asked(core, path, *peers):
    """Ask from each peer; gives the statuses."""
    return [core.ask(path, peer=peer).status for peer in peers]


async def settled(core):
    """Let who verifies do all there is to do."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_path_is_a_secret_of_its_own(core):
    """256 random bits each; no repr shows one."""
    paths = [core.identities.mint() for _ in range(50)] + [core.path]
    assert len(set(paths)) == 51
    for path in paths:
        secret = path.removeprefix("/v2/credentials/")
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32
        assert secret not in repr(core.identities) + repr(core.identities.by_path(path))


def test_the_common_path_is_everybodys(core):
    """It is for who has none of his own, wherever he asks from."""
    assert asked(core, core.path, ONE, OTHER, ONE) == [200, 200, 200]


def test_the_first_peer_pins_a_path(core):
    """Before anybody knows the container's address, who asks first is it."""
    path = core.identities.mint()
    assert asked(core, path, ONE, OTHER, ONE) == [200, 403, 200]


def test_what_stands_ready_for_one_peer_is_not_anothers(core):
    """An answer that was judged holds no longer than what it was judged by."""
    path = core.identities.mint()
    standing = core.ask(path, peer=ONE).replay
    assert standing()
    core.identities.assign(path, "c1", [OTHER])
    assert standing() is None
    assert asked(core, path, ONE, OTHER) == [403, 200]


def test_addresses_told_beforehand_are_held_to(core):
    """Who is tied to an address is answered there, and nowhere else."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    assert asked(core, path, OTHER, ONE) == [403, 200]


def test_a_path_rests_while_its_container_is_stopped(core):
    """Also for who had an answer standing ready; started again it is good, wherever it is then."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    standing = core.ask(path, peer=ONE).replay
    core.identities.suspend("c1")
    assert standing() is None
    assert asked(core, path, ONE, OTHER) == [400, 400]
    assert core.identities.by_address(ONE) is core.identities.default
    core.identities.resume("c1")
    assert asked(core, path, OTHER, ONE) == [200, 403]
    assert core.identities.containers() == {"c1"}


def test_what_runs_already_is_not_decided_anew(core):
    """The daemon tells of a start whose container has asked before."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    standing = core.ask(path, peer=ONE).replay
    core.identities.resume("c1")
    core.identities.resume("another")
    assert standing() is not None


def test_who_was_started_a_moment_ago_is_not_sent_away(run, core):
    """The engine is asked before the answer is given, since its word may come later."""
    path = core.identities.mint()

    async def play():
        news = []
        core.identities.on_change = lambda: news.append(True)
        core.identities.assign(path, "c1", [ONE])
        core.identities.suspend("c1")
        answer = core.ask(path, peer=OTHER)
        assert answer.later is not None
        await settled(core)
        assert news
        assert asked(core, path, OTHER, ONE) == [200, 403]

    verifying(run, core, Engine(frozenset({OTHER})), play)


@pytest.mark.parametrize("how", ["died", "revoked"])
def test_a_path_ends_with_its_container(core, how):
    """At once, also for who had an answer standing ready."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    standing = core.ask(path, peer=ONE).replay
    if how == "died":
        core.identities.end("c1")
    else:
        core.identities.revoke(path)
    assert standing() is None
    assert asked(core, path, ONE) == [400]
    core.identities.assign(path, "c1", [ONE])  # too late
    assert asked(core, path, ONE, OTHER) == [400, 400]


def test_the_end_of_what_never_was_is_no_error(core):
    """Events come twice, and for containers without a path."""
    core.identities.end("unknown")
    core.identities.revoke("/v2/credentials/x")
    core.identities.revoke(core.path)
    assert asked(core, core.path, ONE) == [200]


def test_a_keeper_of_its_own(core):
    """A path may lead to other credentials than everybody's, by either face."""
    refresher = type(core.refresher)(core.clock)
    path = core.identities.mint(refresher)
    assert asked(core, path, ONE) == [503]
    assert asked(core, core.path, ONE) == [200]
    core.identities.assign(path, "c1", [ONE])
    assert core.identities.by_address(ONE).refresher is refresher
    assert core.identities.by_address(OTHER).refresher is core.refresher
    core.identities.end("c1")
    assert core.identities.by_address(ONE).refresher is core.refresher


def test_an_address_that_is_given_again_is_its_new_owners(core):
    """A late word of the old owner's end does not take it away."""
    old, new = core.identities.mint(), core.identities.mint()
    core.identities.assign(old, "c1", [ONE])
    core.identities.assign(new, "c2", [ONE])
    core.identities.end("c1")
    assert core.identities.by_address(ONE) is core.identities.by_path(new)


def test_paths_cannot_pile_up(core):
    """Beyond the most, the oldest makes room."""
    first = core.identities.mint()
    paths = [core.identities.mint() for _ in range(MOST)]
    assert asked(core, first, ONE) == [400]
    assert asked(core, paths[0], ONE) == asked(core, paths[-1], ONE) == [200]


# --- the engine's word --------------------------------------------------------------------------


class Engine:
    """Stands for the engine's inspect."""

    def __init__(self, *told) -> None:
        self.told = list(told)
        self.asked: list[str] = []

    async def inspect(self, container):
        """Tell what is next, the last again and again."""
        self.asked.append(container)
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(told, Exception):
            raise told
        return told


def verifying(run, core, engine, play):
    """Play while the engine is asked; gives the log."""

    async def case():
        core.identities.inspect = engine.inspect
        with capture_logs() as logs:
            async with running_beside(core.identities.verify()):
                await play()
        return logs

    return run(case())


def test_the_engine_confirms_who_was_first(run, core):
    """Afterwards all addresses of the container are good, and no others."""
    path = core.identities.mint()
    engine = Engine(frozenset({ONE, "10.9.0.2"}))

    async def play():
        core.identities.assign(path, "c1")
        assert asked(core, path, ONE) == [200]
        await settled(core)
        assert asked(core, path, ONE, "10.9.0.2", OTHER) == [200, 200, 403]

    logs = verifying(run, core, engine, play)
    assert engine.asked == ["c1"]
    assert "relay.path_misused" not in {line["event"] for line in logs}


@pytest.mark.parametrize("late", [False, True], ids=["tied-before", "tied-after"])
def test_the_engine_unmasks_a_thief(run, core, late):
    """Whoever used the path first and is not its container is shut out; the owner is not."""
    path = core.identities.mint()
    engine = Engine(frozenset({ONE}))

    async def play():
        if not late:
            core.identities.assign(path, "c1")
        assert asked(core, path, OTHER, ONE) == [200, 403]
        if late:
            core.identities.assign(path, "c1")
        await settled(core)
        assert asked(core, path, OTHER, ONE) == [403, 200]

    logs = verifying(run, core, engine, play)
    (told,) = [line for line in logs if line["event"] == "relay.path_misused"]
    assert (told["container"], told["peer"], told["log_level"]) == ("c1", OTHER, "error")
    assert path not in repr(logs)


def test_a_container_that_is_gone_ends_its_path(run, core):
    """Though its end was never told."""
    path = core.identities.mint()

    async def play():
        core.identities.assign(path, "c1")
        assert asked(core, path, ONE) == [200]
        await settled(core)
        assert asked(core, path, ONE) == [400]

    verifying(run, core, Engine(frozenset()), play)


def test_a_container_on_the_daemons_network_keeps_its_pin(run, core):
    """It has no address of its own that could be compared."""
    path = core.identities.mint()

    async def play():
        core.identities.assign(path, "c1")
        assert asked(core, path, "127.0.0.1") == [200]
        await settled(core)
        assert asked(core, path, "127.0.0.1", ONE) == [200, 403]

    verifying(run, core, Engine(None), play)


def test_an_engine_that_fails_changes_nothing(run, core):
    """The pin stays, the log says so, and the next doubt asks again."""
    path = core.identities.mint()
    engine = Engine(OSError("no such socket"), frozenset({ONE}))

    async def play():
        core.identities.assign(path, "c1")
        assert asked(core, path, ONE) == [200]
        await settled(core)
        assert asked(core, path, ONE, OTHER) == [200, 403]
        core.now += 1
        assert asked(core, path, OTHER) == [403]
        await settled(core)
        assert asked(core, path, ONE, OTHER) == [200, 403]

    logs = verifying(run, core, engine, play)
    assert len(engine.asked) == 2
    assert [line["reason"] for line in logs if line["event"] == "relay.verification_failed"] == [
        "OSError"
    ]


def test_a_container_that_joins_a_network_is_answered_there(run, core):
    """A refused address is looked up anew, at most once a second."""
    path = core.identities.mint()
    engine = Engine(frozenset({ONE}), frozenset({ONE, OTHER}))

    async def play():
        core.identities.assign(path, "c1")
        assert asked(core, path, ONE) == [200]
        await settled(core)
        assert asked(core, path, *[OTHER] * 20) == [403] * 20
        await settled(core)
        assert len(engine.asked) == 1
        core.now += 1
        assert asked(core, path, OTHER) == [403]
        await settled(core)
        assert asked(core, path, OTHER, ONE) == [200, 200]

    verifying(run, core, engine, play)
    assert len(engine.asked) == 2


def test_an_engine_that_hangs_is_given_its_time(run, core, monkeypatch):
    """One that never answers about one container does not keep the others from being verified."""
    monkeypatch.setattr("sidecar.relay.identities._INSPECT_TIMEOUT", 0.01)
    first, second = core.identities.mint(), core.identities.mint()
    second_seen = asyncio.Event()

    async def inspect(container):
        if container == "c1":
            await asyncio.Event().wait()
        second_seen.set()
        return frozenset({OTHER})

    engine = Engine(None)
    engine.inspect = inspect

    async def play():
        core.identities.assign(first, "c1")
        assert asked(core, first, ONE) == [200]
        await settled(core)
        core.identities.assign(second, "c2")
        assert asked(core, second, ONE) == [200]
        await second_seen.wait()
        await settled(core)
        assert asked(core, second, ONE, OTHER) == [403, 200]

    verifying(run, core, engine, play)


def test_a_container_that_ends_while_it_is_looked_at(run, core):
    """What the engine tells then comes too late to bring the path back."""
    path = core.identities.mint()
    told = []

    async def inspect(container):
        told.append(container)
        core.identities.end(container)
        return frozenset({ONE})

    engine = Engine(None)
    engine.inspect = inspect

    async def play():
        core.identities.assign(path, "c1")
        assert asked(core, path, ONE) == [200]
        await settled(core)
        assert asked(core, path, ONE) == [400]
        assert core.identities.by_address(ONE) is core.identities.default

    verifying(run, core, engine, play)
    assert told == ["c1"]
