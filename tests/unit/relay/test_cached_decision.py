"""Cached decisions: an answer is repeated only while everything that it is based on is unchanged.

The requests go over a real connection to a real listener, which keeps the cached decisions.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from sidecar.aws.container_credentials import parse_credentials
from sidecar.net import http_server
from sidecar.relay import router
from sidecar.relay.imds_protocol import HOSTS, TOKEN, TTL
from sidecar.relay.protocol import hold_for_admission

if TYPE_CHECKING:
    from sidecar.relay.cached_decision import Grounds

PEER, OTHER = "127.0.0.1", "127.0.0.2"
ECS, IMDS = "169.254.170.2", HOSTS[0]
ROLE = "/latest/meta-data/iam/security-credentials/task"


class Client:
    """Sends requests on one connection, and counts how many the router judges."""

    def __init__(self, core, reader, writer) -> None:
        self.core = core
        self.judged = 0
        self._reader, self._writer = reader, writer

    def judge(self, request):
        """Answer as the router does, and count."""
        self.judged += 1
        return self.core.router.answer(request)

    async def ask(self, target, host=ECS, headers=()) -> tuple[int, bytes]:
        """Return status and body; the same arguments are the same bytes."""
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *(": ".join(one) for one in headers)]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.partition("Content-Length: ")[2].partition("\r\n")[0])
        return int(head.split()[1]), await self._reader.readexactly(length)


@asynccontextmanager
async def connecting(core):
    """Serve a relay core by a listener, and connect to it."""
    client = Client(core, None, None)
    limits = http_server.Limits(patience_seconds=0.001)
    async with http_server.listening(PEER, 0, client.judge, names=[ECS, *HOSTS], limits=limits) as (
        host,
        port,
    ):
        client._reader, client._writer = await asyncio.open_connection(host, port)
        yield client
        client._writer.close()


def version(core, say, number: int, seconds: float = 4000.0):
    """Return another version of the credentials."""
    return parse_credentials(say.held(core.now + seconds, number), now=core.now, where="")


def open_session(core, ttl: int) -> str:
    """Return a new IMDS session token."""
    answer = core.ask(
        "/latest/api/token", method="PUT", peer=PEER, host=IMDS, headers={TTL: str(ttl)}
    )
    return answer.body.decode()


def make_requests(core, say) -> dict[str, tuple]:
    """Set paths, addresses and a session up; return the arguments of each kind of request."""
    core.hold(version(core, say, 1, seconds=10))
    core.own = core.identities.mint()
    core.identities.assign(core.own, "c1", [PEER])
    session = ((TOKEN, open_session(core, 1)),)
    return {
        "common path": (core.path,),
        "own path": (core.own,),
        "session": (ROLE, IMDS, session),
    }


def make_other_role(core, say) -> str:
    """Return a new path that leads to other credentials than everybody's."""
    refresher = type(core.refresher)(core.clock)
    refresher.newest = version(core, say, 9)
    return core.identities.mint(refresher)


# What changes: the request, the ground that has to notice it, how it is changed, the status that
# the next answer must have, and a part of its body.
CHANGES = {
    "newer credentials": (
        "common path",
        "credentials",
        lambda core, say: core.hold(version(core, say, 2)),
        (200, b"ASIATESTKEY00002"),
    ),
    "newer credentials, in a session": (
        "session",
        "credentials",
        lambda core, say: core.hold(version(core, say, 2)),
        (200, b"ASIATESTKEY00002"),
    ),
    "the credentials expire": (
        "own path",
        "expiry",
        lambda core, _: setattr(core, "now", core.now + 10),
        (503, b"CredentialsUninitialized"),
    ),
    "the session token expires": (
        "session",
        "session",
        lambda core, _: setattr(core, "now", core.now + 1),
        (401, b"session token"),
    ),
    "the path is revoked": (
        "own path",
        "version",
        lambda core, _: core.identities.revoke(core.own),
        (400, b"InvalidIdInRequest"),
    ),
    "the container ends": (
        "own path",
        "version",
        lambda core, _: core.identities.end("c1"),
        (400, b"InvalidIdInRequest"),
    ),
    "the container stops": (
        "own path",
        "version",
        lambda core, _: core.identities.suspend("c1"),
        (400, b"InvalidIdInRequest"),
    ),
    "the container gets another address": (
        "own path",
        "version",
        lambda core, _: core.identities.assign(core.own, "c1", [OTHER]),
        (403, b"another container"),
    ),
    "the path gets another container": (
        "own path",
        "version",
        lambda core, _: core.identities.assign(core.own, "c2"),
        (200, b"ASIATESTKEY00001"),
    ),
    "the address gets another container": (
        "session",
        "version",
        lambda core, say: core.identities.assign(make_other_role(core, say), "c2", [PEER]),
        (200, b"ASIATESTKEY00009"),
    ),
    "no job is admitted yet": (
        "common path",
        "version",
        lambda core, _: core.identities.hold(hold_for_admission()),
        (503, b"no job is admitted yet"),
    ),
    "no job is admitted yet, in a session": (
        "session",
        "version",
        lambda core, _: core.identities.hold(hold_for_admission()),
        (503, b"no job is admitted yet"),
    ),
    "the policy excludes the peer": (
        "common path",
        "policy",
        lambda core, _: setattr(core, "local_peers", {OTHER}),
        (403, b"own containers"),
    ),
    "the policy excludes the peer, in a session": (
        "session",
        "policy",
        lambda core, _: setattr(core, "local_peers", set()),
        (403, b"own containers"),
    ),
}


class OneVersion:
    """Identities whose version never changes; their policy does."""

    def __init__(self, identities) -> None:
        self._identities = identities
        self.version = identities.version

    @property
    def policy(self):
        """Return the policy of now."""
        return self._identities.policy


class NoPolicy:
    """Identities without a policy; their version is that of now."""

    policy = None

    def __init__(self, identities) -> None:
        self._identities = identities

    @property
    def version(self):
        """Return the version of now."""
        return self._identities.version


def with_newest(grounds: Grounds, credentials) -> Grounds:
    """Return grounds whose credentials stay the newest."""
    source = SimpleNamespace(refresher=SimpleNamespace(newest=credentials))
    return grounds._replace(identity=source, credentials=credentials)


# For each ground, the grounds as they would be if nobody compared it.
IGNORED = {
    "version": lambda held: held._replace(identities=OneVersion(held.identities)),
    "credentials": lambda held: with_newest(held, held.credentials),
    "expiry": lambda held: with_newest(held, replace(held.credentials, expires_at=float("inf"))),
    "session": lambda held: held._replace(session_ends=float("inf")),
    "policy": lambda held: held._replace(identities=NoPolicy(held.identities)),
}


def ignore(monkeypatch, ground: str) -> None:
    """Let cached decisions not compare one ground."""
    make = router.make_replay
    monkeypatch.setattr(
        router, "make_replay", lambda grounds, *rest: make(IGNORED[ground](grounds), *rest)
    )


def ask_around(run, core, say, name):
    """Ask twice, make the change, ask again; gives the three answers and how many were judged."""
    kind, _, change, _ = CHANGES[name]

    async def case():
        request = make_requests(core, say)[kind]
        async with connecting(core) as client:
            first, second = await client.ask(*request), await client.ask(*request)
            judged = [client.judged]
            change(core, say)
            third = await client.ask(*request)
            return first, second, third, [*judged, client.judged]

    return run(case())


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_any_ground_voids_the_cached_decision(run, core, say, name):
    """The same bytes from the same peer are judged anew, in the very next request."""
    first, second, (status, body), judged = ask_around(run, core, say, name)
    assert first == second
    assert first[0] == 200
    assert judged[0] == 1  # the second answer was a repeated one
    assert judged[1] > 1
    expected, part = CHANGES[name][3]
    assert status == expected
    assert part in body


@pytest.mark.parametrize("name", CHANGES)
def test_without_its_comparison_the_old_answer_is_repeated(run, core, say, name, monkeypatch):
    """The attack works when one ground is ignored: no other comparison hides a missing one."""
    ignore(monkeypatch, CHANGES[name][1])
    first, _, third, judged = ask_around(run, core, say, name)
    assert third == first
    assert judged == [1, 1]


def test_a_void_decision_stays_void(run, core, say):
    """Grounds that change and change back are judged anew all the same."""

    async def case():
        request = make_requests(core, say)["common path"]
        async with connecting(core) as client:
            statuses = []
            for peers in (None, set(), None):
                core.local_peers = peers
                statuses.append((await client.ask(*request))[0])
            return statuses, client.judged

    assert run(case()) == ([200, 403, 200], 3)


# --- random changes -----------------------------------------------------------------------------


class RandomChanges:
    """Changes one ground after another; the same ones for the same seed."""

    def __init__(self, core, say, seed: int) -> None:
        self.core, self.say = core, say
        self.random = random.Random(seed)  # noqa: S311  must repeat
        self.requests = make_requests(core, say)
        self.other_role = make_other_role(core, say)
        self.version = 10

    def change(self) -> bool:
        """Change something; return whether it voids every decision."""
        pick, core = self.random, self.core
        return pick.choice(
            (
                self.set_credentials,
                self.advance,
                self.advance,
                self.renew,
                lambda: self.assign(core.own, pick.choice(("c1", "c2"))),
                lambda: self.assign(self.other_role, "c9"),
                self.suspend,
                self.resume,
                self.set_policy,
                lambda: False,
            )
        )()

    def set_credentials(self) -> bool:
        """Fetch a new version, or lose the old one."""
        self.version += 1
        lost = self.random.random() < 0.2
        seconds = self.random.uniform(1, 20)
        self.core.hold(None if lost else version(self.core, self.say, self.version, seconds))
        return False

    def advance(self) -> bool:
        """Let time pass, in which something may end."""
        self.core.now += self.random.uniform(0, 5)
        return False

    def renew(self) -> bool:
        """Open a new session."""
        token = open_session(self.core, self.random.randrange(1, 10))
        self.requests["session"] = (ROLE, IMDS, ((TOKEN, token),))
        return False

    def assign(self, path: str, container: str) -> bool:
        """Set whose a path is, and its addresses."""
        addresses = self.random.choice(([], [PEER], [OTHER], [PEER, OTHER]))
        self.core.identities.assign(path, container, addresses)
        return True

    def suspend(self) -> bool:
        """Stop a container."""
        container = self.random.choice(sorted(self.core.identities.containers()))
        self.core.identities.suspend(container)
        return True

    def resume(self) -> bool:
        """Start every container."""
        for container in self.core.identities.containers():
            self.core.identities.resume(container)
        return False

    def set_policy(self) -> bool:
        """Include or exclude the peer."""
        self.core.local_peers = self.random.choice((None, None, {PEER}, {OTHER}))
        return self.core.local_peers == {OTHER}


def decide(core, target, host=ECS, headers=()) -> tuple[int, bytes]:
    """Return what the router decides at this moment."""
    answer = core.ask(target, peer=PEER, host=host, headers=headers)
    return answer.status, answer.body


async def count_stale(core, say, seed: int, steps: int = 60) -> tuple[int, int]:
    """Make random changes and ask after each; return the stale answers, and the repeated ones."""
    changes = RandomChanges(core, say, seed)
    stale = repeated = 0
    async with connecting(core) as client:
        for _ in range(steps):
            voids = changes.change()
            for request in changes.requests.values():
                before = client.judged
                first = await client.ask(*request)
                stale += voids and client.judged == before
                before = client.judged
                second = await client.ask(*request)
                repeated += client.judged == before
                fresh = decide(core, *request)
                stale += first != fresh or second != fresh
    return stale, repeated


@pytest.mark.parametrize("seed", range(20))
def test_random_changes_never_meet_a_stale_answer(run, core, say, seed):
    """After each change, every answer is what the router decides at that moment."""
    stale, repeated = run(count_stale(core, say, seed))
    assert stale == 0
    assert repeated >= 10


@pytest.mark.parametrize("ground", IGNORED)
def test_random_changes_find_an_ignored_ground(run, core, say, ground, monkeypatch):
    """The test above would notice if any one ground were not compared."""
    ignore(monkeypatch, ground)
    found = 0
    for seed in range(10):
        stale, _ = run(count_stale(core, say, seed))
        found += stale
    assert found
