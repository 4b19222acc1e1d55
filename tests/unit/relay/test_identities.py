"""Paths of their own: one container's, from before it is there until it is gone."""

from __future__ import annotations

import asyncio
import base64

import pytest
from structlog.testing import capture_logs

from sidecar.relay import running_beside
from sidecar.relay.identities import MOST

ONE, OTHER = "172.17.0.2", "172.17.0.3"


def asked(front, path, *peers):
    """Ask from each peer; gives the statuses."""
    return [front.ask(path, peer=peer).status for peer in peers]


async def settled(front):
    """Let who verifies do all there is to do."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_path_is_a_secret_of_its_own(front):
    """256 random bits each; no repr shows one."""
    paths = [front.identities.mint() for _ in range(50)] + [front.path]
    assert len(set(paths)) == 51
    for path in paths:
        secret = path.removeprefix("/v2/credentials/")
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32
        assert secret not in repr(front.identities) + repr(front.identities.by_path(path))


def test_the_common_path_is_everybodys(front):
    """It is for who has none of his own, wherever he asks from."""
    assert asked(front, front.path, ONE, OTHER, ONE) == [200, 200, 200]


def test_the_first_peer_pins_a_path(front):
    """Before anybody knows the container's address, who asks first is it."""
    path = front.identities.mint()
    assert asked(front, path, ONE, OTHER, ONE) == [200, 403, 200]


def test_what_stands_ready_for_one_peer_is_not_anothers(front):
    """An answer that was judged holds no longer than what it was judged by."""
    path = front.identities.mint()
    standing = front.ask(path, peer=ONE).again
    assert standing()
    front.identities.tied(path, "c1", [OTHER])
    assert standing() is None
    assert asked(front, path, ONE, OTHER) == [403, 200]


def test_addresses_told_beforehand_are_held_to(front):
    """Who is tied to an address is answered there, and nowhere else."""
    path = front.identities.mint()
    front.identities.tied(path, "c1", [ONE])
    assert asked(front, path, OTHER, ONE) == [403, 200]


def test_a_path_rests_while_its_container_is_stopped(front):
    """Also for who had an answer standing ready; started again it is good, wherever it is then."""
    path = front.identities.mint()
    front.identities.tied(path, "c1", [ONE])
    standing = front.ask(path, peer=ONE).again
    front.identities.rests("c1")
    assert standing() is None
    assert asked(front, path, ONE, OTHER) == [400, 400]
    assert front.identities.by_address(ONE) is front.identities.default
    front.identities.runs("c1")
    assert asked(front, path, OTHER, ONE) == [200, 403]
    assert front.identities.containers() == {"c1"}


def test_what_runs_already_is_not_decided_anew(front):
    """The daemon tells of a start whose container has asked before."""
    path = front.identities.mint()
    front.identities.tied(path, "c1", [ONE])
    standing = front.ask(path, peer=ONE).again
    front.identities.runs("c1")
    front.identities.runs("another")
    assert standing() is not None


def test_who_was_started_a_moment_ago_is_not_sent_away(run, front):
    """The engine is asked before the answer is given, since its word may come later."""
    path = front.identities.mint()

    async def play():
        news = []
        front.identities.on_news = lambda: news.append(True)
        front.identities.tied(path, "c1", [ONE])
        front.identities.rests("c1")
        answer = front.ask(path, peer=OTHER)
        assert answer.later is not None
        await settled(front)
        assert news
        assert asked(front, path, OTHER, ONE) == [200, 403]

    verifying(run, front, Engine(frozenset({OTHER})), play)


@pytest.mark.parametrize("how", ["died", "revoked"])
def test_a_path_ends_with_its_container(front, how):
    """At once, also for who had an answer standing ready."""
    path = front.identities.mint()
    front.identities.tied(path, "c1", [ONE])
    standing = front.ask(path, peer=ONE).again
    if how == "died":
        front.identities.died("c1")
    else:
        front.identities.revoke(path)
    assert standing() is None
    assert asked(front, path, ONE) == [400]
    front.identities.tied(path, "c1", [ONE])  # too late
    assert asked(front, path, ONE, OTHER) == [400, 400]


def test_the_end_of_what_never_was_is_no_error(front):
    """Events come twice, and for containers without a path."""
    front.identities.died("unknown")
    front.identities.revoke("/v2/credentials/x")
    front.identities.revoke(front.path)
    assert asked(front, front.path, ONE) == [200]


def test_a_keeper_of_its_own(front):
    """A path may lead to other credentials than everybody's, by either face."""
    refresher = type(front.refresher)(front.clock)
    path = front.identities.mint(refresher)
    assert asked(front, path, ONE) == [503]
    assert asked(front, front.path, ONE) == [200]
    front.identities.tied(path, "c1", [ONE])
    assert front.identities.by_address(ONE).refresher is refresher
    assert front.identities.by_address(OTHER).refresher is front.refresher
    front.identities.died("c1")
    assert front.identities.by_address(ONE).refresher is front.refresher


def test_an_address_that_is_given_again_is_its_new_owners(front):
    """A late word of the old owner's end does not take it away."""
    old, new = front.identities.mint(), front.identities.mint()
    front.identities.tied(old, "c1", [ONE])
    front.identities.tied(new, "c2", [ONE])
    front.identities.died("c1")
    assert front.identities.by_address(ONE) is front.identities.by_path(new)


def test_paths_cannot_pile_up(front):
    """Beyond the most, the oldest makes room."""
    first = front.identities.mint()
    paths = [front.identities.mint() for _ in range(MOST)]
    assert asked(front, first, ONE) == [400]
    assert asked(front, paths[0], ONE) == asked(front, paths[-1], ONE) == [200]


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


def verifying(run, front, engine, play):
    """Play while the engine is asked; gives the log."""

    async def case():
        front.identities.inspect = engine.inspect
        with capture_logs() as logs:
            async with running_beside(front.identities.verify()):
                await play()
        return logs

    return run(case())


def test_the_engine_confirms_who_was_first(run, front):
    """Afterwards all addresses of the container are good, and no others."""
    path = front.identities.mint()
    engine = Engine(frozenset({ONE, "10.9.0.2"}))

    async def play():
        front.identities.tied(path, "c1")
        assert asked(front, path, ONE) == [200]
        await settled(front)
        assert asked(front, path, ONE, "10.9.0.2", OTHER) == [200, 200, 403]

    logs = verifying(run, front, engine, play)
    assert engine.asked == ["c1"]
    assert "relay.path_misused" not in {line["event"] for line in logs}


@pytest.mark.parametrize("late", [False, True], ids=["tied-before", "tied-after"])
def test_the_engine_unmasks_a_thief(run, front, late):
    """Whoever used the path first and is not its container is shut out; the owner is not."""
    path = front.identities.mint()
    engine = Engine(frozenset({ONE}))

    async def play():
        if not late:
            front.identities.tied(path, "c1")
        assert asked(front, path, OTHER, ONE) == [200, 403]
        if late:
            front.identities.tied(path, "c1")
        await settled(front)
        assert asked(front, path, OTHER, ONE) == [403, 200]

    logs = verifying(run, front, engine, play)
    (told,) = [line for line in logs if line["event"] == "relay.path_misused"]
    assert (told["container"], told["peer"], told["log_level"]) == ("c1", OTHER, "error")
    assert path not in repr(logs)


def test_a_container_that_is_gone_ends_its_path(run, front):
    """Though its end was never told."""
    path = front.identities.mint()

    async def play():
        front.identities.tied(path, "c1")
        assert asked(front, path, ONE) == [200]
        await settled(front)
        assert asked(front, path, ONE) == [400]

    verifying(run, front, Engine(frozenset()), play)


def test_a_container_on_the_daemons_network_keeps_its_pin(run, front):
    """It has no address of its own that could be compared."""
    path = front.identities.mint()

    async def play():
        front.identities.tied(path, "c1")
        assert asked(front, path, "127.0.0.1") == [200]
        await settled(front)
        assert asked(front, path, "127.0.0.1", ONE) == [200, 403]

    verifying(run, front, Engine(None), play)


def test_an_engine_that_fails_changes_nothing(run, front):
    """The pin stays, the log says so, and the next doubt asks again."""
    path = front.identities.mint()
    engine = Engine(OSError("no such socket"), frozenset({ONE}))

    async def play():
        front.identities.tied(path, "c1")
        assert asked(front, path, ONE) == [200]
        await settled(front)
        assert asked(front, path, ONE, OTHER) == [200, 403]
        front.now += 1
        assert asked(front, path, OTHER) == [403]
        await settled(front)
        assert asked(front, path, ONE, OTHER) == [200, 403]

    logs = verifying(run, front, engine, play)
    assert len(engine.asked) == 2
    assert [line["reason"] for line in logs if line["event"] == "relay.verification_failed"] == [
        "OSError"
    ]


def test_a_container_that_joins_a_network_is_answered_there(run, front):
    """A refused address is looked up anew, at most once a second."""
    path = front.identities.mint()
    engine = Engine(frozenset({ONE}), frozenset({ONE, OTHER}))

    async def play():
        front.identities.tied(path, "c1")
        assert asked(front, path, ONE) == [200]
        await settled(front)
        assert asked(front, path, *[OTHER] * 20) == [403] * 20
        await settled(front)
        assert len(engine.asked) == 1
        front.now += 1
        assert asked(front, path, OTHER) == [403]
        await settled(front)
        assert asked(front, path, OTHER, ONE) == [200, 200]

    verifying(run, front, engine, play)
    assert len(engine.asked) == 2


def test_an_engine_that_hangs_is_given_its_time(run, front, monkeypatch):
    """One that never answers about one container does not keep the others from being verified."""
    monkeypatch.setattr("sidecar.relay.identities._INSPECT_TIMEOUT", 0.01)
    first, second = front.identities.mint(), front.identities.mint()
    second_seen = asyncio.Event()

    async def inspect(container):
        if container == "c1":
            await asyncio.Event().wait()
        second_seen.set()
        return frozenset({OTHER})

    engine = Engine(None)
    engine.inspect = inspect

    async def play():
        front.identities.tied(first, "c1")
        assert asked(front, first, ONE) == [200]
        await settled(front)
        front.identities.tied(second, "c2")
        assert asked(front, second, ONE) == [200]
        await second_seen.wait()
        await settled(front)
        assert asked(front, second, ONE, OTHER) == [403, 200]

    verifying(run, front, engine, play)


def test_a_container_that_ends_while_it_is_looked_at(run, front):
    """What the engine tells then comes too late to bring the path back."""
    path = front.identities.mint()
    told = []

    async def inspect(container):
        told.append(container)
        front.identities.died(container)
        return frozenset({ONE})

    engine = Engine(None)
    engine.inspect = inspect

    async def play():
        front.identities.tied(path, "c1")
        assert asked(front, path, ONE) == [200]
        await settled(front)
        assert asked(front, path, ONE) == [400]
        assert front.identities.by_address(ONE) is front.identities.default

    verifying(run, front, engine, play)
    assert told == ["c1"]
