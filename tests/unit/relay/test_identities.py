"""Secret paths of containers, from before a container exists until it is gone."""

from __future__ import annotations

import asyncio
import base64

import pytest
from structlog.testing import capture_logs

from sidecar.relay import running_beside
from sidecar.relay.identities import MOST

ONE, OTHER = "172.17.0.2", "172.17.0.3"


def ask_from(core, path, *peers):
    """Ask from each peer; return the statuses."""
    return [core.ask(path, peer=peer).status for peer in peers]


async def let_verify():
    """Let `Identities.verify` finish its work."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_each_path_is_a_different_secret(core):
    """It has 256 random bits, and no repr shows it."""
    paths = [core.identities.mint() for _ in range(50)] + [core.path]
    assert len(set(paths)) == 51
    for path in paths:
        secret = path.removeprefix("/v2/credentials/")
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32
        assert secret not in repr(core.identities) + repr(core.identities.by_path(path))


def test_a_container_s_path_is_known_as_such(core):
    """Until it ends; the common path is no container's."""
    path = core.identities.mint()
    assert core.identities.is_minted(path)
    assert not core.identities.is_minted(core.path)
    core.identities.revoke(path)
    assert not core.identities.is_minted(path)


def test_any_peer_may_use_the_common_path(core):
    """It is for all clients without their own path."""
    assert ask_from(core, core.path, ONE, OTHER, ONE) == [200, 200, 200]


def test_the_first_peer_is_the_only_one_at_first(core):
    """Until the addresses are known, only the peer that asked first may use the path."""
    path = core.identities.mint()
    assert ask_from(core, path, ONE, OTHER, ONE) == [200, 403, 200]


def test_new_addresses_void_a_cached_decision(core):
    """The first peer is refused as soon as the container has another address."""
    path = core.identities.mint()
    replay = core.ask(path, peer=ONE).replay
    assert replay()
    core.identities.assign(path, "c1", [OTHER])
    assert replay() is None
    assert ask_from(core, path, ONE, OTHER) == [403, 200]


def test_addresses_that_are_known_from_the_start_decide(core):
    """The path works from these addresses only."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    assert ask_from(core, path, OTHER, ONE) == [403, 200]


def test_a_path_is_suspended_while_its_container_is_stopped(core):
    """Cached decisions are void too. A started container may use it from its new address."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    replay = core.ask(path, peer=ONE).replay
    core.identities.suspend("c1")
    assert replay() is None
    assert ask_from(core, path, ONE, OTHER) == [400, 400]
    assert core.identities.by_address(ONE) is core.identities.default
    core.identities.resume("c1")
    assert ask_from(core, path, OTHER, ONE) == [200, 403]
    assert core.identities.containers() == {"c1"}


def test_a_start_of_a_running_container_voids_nothing(core):
    """The daemon's event may come after the container's first request."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    replay = core.ask(path, peer=ONE).replay
    core.identities.resume("c1")
    core.identities.resume("another")
    assert replay() is not None


def test_a_container_that_has_just_started_waits_for_the_engine(run, core):
    """It is not refused before the engine was asked, whose event may come late."""
    path = core.identities.mint()

    async def play():
        changes = []
        core.identities.on_change = lambda: changes.append(True)
        core.identities.assign(path, "c1", [ONE])
        core.identities.suspend("c1")
        answer = core.ask(path, peer=OTHER)
        assert answer.wait_in is not None
        await let_verify()
        assert changes
        assert ask_from(core, path, OTHER, ONE) == [200, 403]

    verify_during(run, core, Engine(frozenset({OTHER})), play)


@pytest.mark.parametrize("how", ["end", "revoke"])
def test_a_path_ends_with_its_container(core, how):
    """At once; cached decisions are void too."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    replay = core.ask(path, peer=ONE).replay
    if how == "end":
        core.identities.end("c1")
    else:
        core.identities.revoke(path)
    assert replay() is None
    assert ask_from(core, path, ONE) == [400]
    core.identities.assign(path, "c1", [ONE])  # too late
    assert ask_from(core, path, ONE, OTHER) == [400, 400]


def test_an_unknown_container_is_no_error(core):
    """Events may come twice, and for containers without a path."""
    core.identities.end("unknown")
    core.identities.revoke("/v2/credentials/x")
    core.identities.revoke(core.path)
    assert ask_from(core, core.path, ONE) == [200]


def test_a_path_may_have_its_own_credentials(core):
    """By both protocols, it leads to other credentials than the common path."""
    refresher = type(core.refresher)(core.clock)
    path = core.identities.mint(refresher)
    assert ask_from(core, path, ONE) == [503]
    assert ask_from(core, core.path, ONE) == [200]
    core.identities.assign(path, "c1", [ONE])
    assert core.identities.by_address(ONE).refresher is refresher
    assert core.identities.by_address(OTHER).refresher is core.refresher
    core.identities.end("c1")
    assert core.identities.by_address(ONE).refresher is core.refresher


def test_an_address_belongs_to_its_newest_container(core):
    """A late event about the old container does not remove it."""
    old, new = core.identities.mint(), core.identities.mint()
    core.identities.assign(old, "c1", [ONE])
    core.identities.assign(new, "c2", [ONE])
    core.identities.end("c1")
    assert core.identities.by_address(ONE) is core.identities.by_path(new)


def test_the_number_of_paths_is_limited(core):
    """Above the limit, the oldest path is removed."""
    first = core.identities.mint()
    paths = [core.identities.mint() for _ in range(MOST)]
    assert ask_from(core, first, ONE) == [400]
    assert ask_from(core, paths[0], ONE) == ask_from(core, paths[-1], ONE) == [200]


# --- what the engine reports --------------------------------------------------------------------


class Engine:
    """A fake of the engine's inspect, which returns the `reports` one after another."""

    def __init__(self, *reports) -> None:
        self.reports = list(reports)
        self.asked: list[str] = []

    async def inspect(self, container):
        """Return the next report; the last one again and again."""
        self.asked.append(container)
        report = self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]
        if isinstance(report, Exception):
            raise report
        return report


def verify_during(run, core, engine, play):
    """Run `play` while the engine is asked; return the log."""

    async def case():
        core.identities.inspect = engine.inspect
        with capture_logs() as logs:
            async with running_beside(core.identities.verify()):
                await play()
        return logs

    return run(case())


def test_the_engine_confirms_the_first_peer(run, core):
    """Then every address of the container may ask, and no other."""
    path = core.identities.mint()
    engine = Engine(frozenset({ONE, "10.9.0.2"}))

    async def play():
        core.identities.assign(path, "c1")
        assert ask_from(core, path, ONE) == [200]
        await let_verify()
        assert ask_from(core, path, ONE, "10.9.0.2", OTHER) == [200, 200, 403]

    logs = verify_during(run, core, engine, play)
    assert engine.asked == ["c1"]
    assert "relay.path_misused" not in {line["event"] for line in logs}


@pytest.mark.parametrize("late", [False, True], ids=["assigned-before", "assigned-after"])
def test_the_engine_shuts_a_thief_out(run, core, late):
    """A first peer that is not the container is refused from then on; the container is not."""
    path = core.identities.mint()
    engine = Engine(frozenset({ONE}))

    async def play():
        if not late:
            core.identities.assign(path, "c1")
        assert ask_from(core, path, OTHER, ONE) == [200, 403]
        if late:
            core.identities.assign(path, "c1")
        await let_verify()
        assert ask_from(core, path, OTHER, ONE) == [403, 200]

    logs = verify_during(run, core, engine, play)
    (event,) = [line for line in logs if line["event"] == "relay.path_misused"]
    assert (event["container"], event["peer"], event["log_level"]) == ("c1", OTHER, "error")
    assert path not in repr(logs)


def test_a_container_that_is_gone_cannot_use_its_path(run, core):
    """Also if no event reported its end."""
    path = core.identities.mint()

    async def play():
        core.identities.assign(path, "c1")
        assert ask_from(core, path, ONE) == [200]
        await let_verify()
        assert ask_from(core, path, ONE) == [400]

    verify_during(run, core, Engine(frozenset()), play)


def test_a_container_on_the_daemons_network_is_known_by_its_first_peer(run, core):
    """It has no own address to compare."""
    path = core.identities.mint()

    async def play():
        core.identities.assign(path, "c1")
        assert ask_from(core, path, "127.0.0.1") == [200]
        await let_verify()
        assert ask_from(core, path, "127.0.0.1", ONE) == [200, 403]

    verify_during(run, core, Engine(None), play)


def test_an_engine_that_fails_changes_nothing(run, core):
    """The first peer stays the only one, the log says why, and a later refusal asks again."""
    path = core.identities.mint()
    engine = Engine(OSError("no such socket"), frozenset({ONE}))

    async def play():
        core.identities.assign(path, "c1")
        assert ask_from(core, path, ONE) == [200]
        await let_verify()
        assert ask_from(core, path, ONE, OTHER) == [200, 403]
        core.now += 1
        assert ask_from(core, path, OTHER) == [403]
        await let_verify()
        assert ask_from(core, path, ONE, OTHER) == [200, 403]

    logs = verify_during(run, core, engine, play)
    assert len(engine.asked) == 2
    assert [line["reason"] for line in logs if line["event"] == "relay.verification_failed"] == [
        "OSError"
    ]


def test_a_container_that_joins_a_network_may_ask_from_there(run, core):
    """A refused address makes the engine be asked again, at most once a second."""
    path = core.identities.mint()
    engine = Engine(frozenset({ONE}), frozenset({ONE, OTHER}))

    async def play():
        core.identities.assign(path, "c1")
        assert ask_from(core, path, ONE) == [200]
        await let_verify()
        assert ask_from(core, path, *[OTHER] * 20) == [403] * 20
        await let_verify()
        assert len(engine.asked) == 1
        core.now += 1
        assert ask_from(core, path, OTHER) == [403]
        await let_verify()
        assert ask_from(core, path, OTHER, ONE) == [200, 200]

    verify_during(run, core, engine, play)
    assert len(engine.asked) == 2


def test_an_engine_that_hangs_is_not_waited_for(run, core, monkeypatch):
    """If it never answers about one container, the others are verified all the same."""
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
        assert ask_from(core, first, ONE) == [200]
        await let_verify()
        core.identities.assign(second, "c2")
        assert ask_from(core, second, ONE) == [200]
        await second_seen.wait()
        await let_verify()
        assert ask_from(core, second, ONE, OTHER) == [403, 200]

    verify_during(run, core, engine, play)


def test_a_container_that_ends_while_it_is_inspected(run, core):
    """A late report of the engine does not bring its path back."""
    path = core.identities.mint()
    inspected = []

    async def inspect(container):
        inspected.append(container)
        core.identities.end(container)
        return frozenset({ONE})

    engine = Engine(None)
    engine.inspect = inspect

    async def play():
        core.identities.assign(path, "c1")
        assert ask_from(core, path, ONE) == [200]
        await let_verify()
        assert ask_from(core, path, ONE) == [400]
        assert core.identities.by_address(ONE) is core.identities.default

    verify_during(run, core, engine, play)
    assert inspected == ["c1"]
