"""Hostile neighbours: whatever they send, they get no credentials, and others are served on.

Everything goes over real connections to a whole relay, from addresses of the loopback network.
"""

from __future__ import annotations

import asyncio
import gc
import random
import re
import sys
from contextlib import asynccontextmanager, suppress
from statistics import median

import pytest
from structlog.testing import capture_logs

from sidecar import relay
from sidecar.net import http_server
from sidecar.relay.audit import _EVENTS

if sys.platform == "win32":
    pytest.skip("127.0.0.0/8 is not all local there", allow_module_level=True)

import resource

import uvloop

HOST = "169.254.170.2"
IMDS = "169.254.169.254"
VICTIM, THIEF, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
ROLES = "/latest/meta-data/iam/security-credentials/task"
SECRETS = (b"AccessKeyId", b"SECRET-KEY", b"SESSION-TOKEN", b"ASIATEST")
SEED = 20260101
FUZZED = 100_000


@pytest.fixture(autouse=True)
def _many_files():
    """Both ends of a thousand connections are open here."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def play():
    """Run a coroutine on the loop that the agent has, in bounded time."""

    def plays(work, timeout=240.0):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(asyncio.wait_for(work, timeout))

    return plays


@pytest.fixture
def standing(upstream, say):
    """Give a warm relay with both faces, and the victim's own path."""

    @asynccontextmanager
    async def standing(**options):
        async with (
            upstream(say.good()) as up,
            relay.serving(
                up.endpoint,
                "127.0.0.1",
                0,
                clock=relay.Clock(lambda: say.start),
                peers=lambda peer: peer != STRANGER,
                imds=relay.Imds("eu-north-1"),
                **options,
            ) as served,
        ):
            await served.wait_until_fetched(20)
            path = served.identities.mint()
            served.identities.assign(path, "victim", [VICTIM])
            yield served, path

    return standing


async def exchange(served, sent: bytes, peer: str = THIEF) -> bytes:
    """Send from an address, and read until the relay closes."""
    reader, writer = await asyncio.open_connection(served.host, served.port, local_addr=(peer, 0))
    received = b""
    try:
        writer.write(sent)
        with suppress(ConnectionError):
            while more := await reader.read(2**20):
                received += more
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return received


def request(target: str, *headers: str, method: str = "GET", host: str = HOST) -> bytes:
    """Return a head."""
    lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", *headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def last(target: str, *headers: str, **options: str) -> bytes:
    """Return a head that asks for the end of the connection, too."""
    return request(target, *headers, "Connection: close", **options)


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def harmless(received: bytes) -> bool:
    """Tell whether nothing secret is in there."""
    return not any(secret in received for secret in SECRETS)


def test_the_rightful_are_served(play, standing):
    """What the other tests deny is there for those whom it is meant for."""

    async def case():
        async with standing() as (served, path):
            own = await exchange(served, last(path), VICTIM)
            common = await exchange(served, last(served.relative_uri), THIEF)
            ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60"
            said = await exchange(served, last("/latest/api/token", ttl, method="PUT", host=IMDS))
            token = said.rpartition(b"\r\n")[2].decode()
            by_token = await exchange(
                served, last(ROLES, f"X-aws-ec2-metadata-token: {token}", host=IMDS)
            )
            return own, common, by_token

    for received in play(case()):
        assert statuses(received) == [200]
        assert not harmless(received)


# Stand for the path of all and the victim's own, which nobody knows beforehand.
COMMON, OWN = "/%common", "/%own"
ATTACKS = {
    "another's path": (403, last(OWN)),
    "another's path, again": (403, request(OWN) + last(OWN)),
    "a guessed path": (400, last(f"/v2/credentials/{'A' * 43}")),
    "more than the path": (400, last(f"{COMMON}/")),
    "a query behind the path": (400, last(f"{COMMON}?")),
    "forged Host": (421, last(COMMON, host="evil.example")),
    "both Hosts": (400, last(COMMON, "Host: evil.example")),
    "the other face's Host": (401, last(COMMON, host=IMDS)),
    "forwarded": (403, last(COMMON, "X-Forwarded-For: 127.0.0.1")),
    "via": (403, last(COMMON, "Via: 1.1 proxy")),
    "absolute form": (400, last(f"http://{HOST}{COMMON}")),
    "a body": (413, last(COMMON, "Content-Length: 1") + b"x"),
    "giant header": (431, last(COMMON, f"X: {'a' * 9000}")),
    "endless headers": (431, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000),
    "IMDSv1": (401, last(ROLES, host=IMDS)),
    "a made-up token": (
        401,
        last(ROLES, f"X-aws-ec2-metadata-token: {'A' * 56}", host=IMDS),
    ),
    "a token through a proxy": (
        403,
        last(
            "/latest/api/token",
            "X-aws-ec2-metadata-token-ttl-seconds: 60",
            "X-Forwarded-For: 127.0.0.1",
            method="PUT",
            host=IMDS,
        ),
    ),
    "length, encoding and a hidden request": (
        400,
        (
            request(COMMON, "Content-Length: 4", "Transfer-Encoding: chunked", method="POST")
            + b"0\r\n\r\n"
            + request(COMMON)
        ),
    ),
    "encoding, length and a hidden request": (
        400,
        (
            request(COMMON, "Transfer-Encoding: chunked", "Content-Length: 4")
            + b"0\r\n\r\n"
            + request(COMMON)
        ),
    ),
    "a hidden request in a length": (
        413,
        (request(COMMON, f"Content-Length: {len(request(COMMON))}") + request(COMMON)),
    ),
}


def attack(name: str, served, own: str) -> bytes:
    """Return what an attack sends."""
    sent = ATTACKS[name][1].replace(COMMON.encode(), served.relative_uri.encode())
    return sent.replace(OWN.encode(), own.encode())


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_one_refusal_and_an_event(play, standing, name):
    """Whatever hides behind it is never read, and the log says who it was."""

    async def case():
        async with standing() as (served, path):
            with capture_logs() as logs:
                received = await exchange(served, attack(name, served, path))
        return received, logs, (served.relative_uri, path)

    received, logs, paths = play(case())
    found = statuses(received)
    assert harmless(received)
    assert set(found) == {ATTACKS[name][0]}
    refused = [line for line in logs if line["event"] == "relay.refused"]
    assert {line["peer"] for line in refused} == {THIEF}
    assert len(refused) == 1
    assert not any(path in repr(logs) for path in paths)


def test_a_stranger_is_told_nothing(play, standing):
    """Who is no local peer gets the same refusal, whatever he knows."""

    async def case():
        async with standing() as (served, path):
            return [
                await exchange(served, sent, STRANGER)
                for sent in (
                    last(served.relative_uri),
                    last(path),
                    last("/"),
                    last("/latest/api/token", method="PUT", host=IMDS),
                )
            ]

    received = play(case())
    assert len(set(received)) == 1
    assert statuses(received[0]) == [403]


def test_another_containers_token_is_worth_nothing(play, standing):
    """It is signed for the address that asked for it."""

    async def case():
        async with standing() as (served, _):
            ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60"
            asked = last("/latest/api/token", ttl, method="PUT", host=IMDS)
            token = (await exchange(served, asked, VICTIM)).rpartition(b"\r\n")[2].decode()
            sent = last(ROLES, f"X-aws-ec2-metadata-token: {token}", host=IMDS)
            return [statuses(await exchange(served, sent, peer)) for peer in (THIEF, VICTIM)]

    assert play(case()) == [[401], [200]]


def test_refusals_are_quick(play, standing):
    """Within 50 ms, as a client's time-outs ask for; the median, since the machine is shared."""

    async def case():
        loop, took = asyncio.get_running_loop(), []
        async with standing() as (served, path):
            for name in ("another's path", "a guessed path", "forged Host", "IMDSv1", "via"):
                sent = attack(name, served, path)
                for _ in range(9):
                    began = loop.time()
                    assert harmless(await exchange(served, sent))
                    took.append(loop.time() - began)
        return median(took)

    assert play(case()) < 0.05


def test_idle_and_slow_connections_keep_nobody_out(play, standing):
    """A thousand that say nothing, and a hundred that say it slowly, end by their deadlines."""

    async def case():
        limits = http_server.Limits(
            connections=2048, backlog=2048, head_seconds=1.0, idle_seconds=1.0
        )
        async with standing(limits=limits) as (served, path):
            idle = [
                await asyncio.open_connection(served.host, served.port, local_addr=(THIEF, 0))
                for _ in range(1000)
            ]
            slow = [asyncio.create_task(trickled(served)) for _ in range(100)]
            good = [statuses(await exchange(served, last(path), VICTIM)) for _ in range(20)]
            ends = [await reader.read() for reader, _ in idle]
            for _, writer in idle:
                writer.close()
            return good, ends, await asyncio.gather(*slow)

    good, ends, slow = play(case())
    assert good == [[200]] * 20
    assert set(ends) == {b""}
    assert {tuple(statuses(received)) for received in slow} == {(408,)}


def test_the_agent_keeps_files_for_itself(play, standing, monkeypatch):
    """Whoever opens connections without end gets no more than a part of what may be open."""
    monkeypatch.setattr(relay, "most_files", lambda: 400)

    async def case():
        async with standing() as (served, _):
            opened = [
                await asyncio.open_connection(served.host, served.port, local_addr=(THIEF, 0))
                for _ in range(144)
            ]
            more = [statuses(await exchange(served, b"")) for _ in range(3)]
            for _, writer in opened:
                writer.close()
            return more

    assert play(case()) == [[503]] * 3


async def trickled(served) -> bytes:
    """Send a head that never ends, a line at a time."""
    reader, writer = await asyncio.open_connection(served.host, served.port, local_addr=(THIEF, 0))
    writer.write(request(served.relative_uri)[:-2])
    ended = asyncio.create_task(reader.read())
    while not ended.done():
        writer.write(b"X: y\r\n")
        await asyncio.wait([ended], timeout=0.05)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return ended.result()


# --- fuzz ---------------------------------------------------------------------------------------


class Fuzz:
    """Makes requests that must not be answered with credentials; the same for the same seed."""

    def __init__(self, common: str, own: str) -> None:
        self.random = random.Random(SEED)  # noqa: S311  nothing secret comes of it
        self.common = common
        self.own = own

    def batch(self) -> tuple[bytes, int]:
        """Return nine well-formed requests and one that is not; and how many answers it gets."""
        sent = b"".join(self.well_formed() for _ in range(9))
        end, answered = self.malformed()
        return sent + end, 9 + answered

    def well_formed(self) -> bytes:
        """Return what is a request, but no right to anything."""
        pick = self.random
        method = pick.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"))
        target = pick.choice((self.guessed, self.mutated, self.odd, lambda: self.own))()
        headers = [
            f"X-{pick.randrange(99)}: {self.text(pick.randrange(40))}"
            for _ in range(pick.randrange(4))
        ]
        if pick.random() < 0.3:
            headers.append(f"X-aws-ec2-metadata-token: {self.text(pick.choice((0, 55, 56, 57)))}")
        host = pick.choice((HOST, f"{HOST}:80", IMDS, f"{IMDS}:80"))
        return request(target, *headers, method=method, host=host)

    def guessed(self) -> str:
        """Return a path that looks right."""
        return f"/v2/credentials/{self.text(43)}"

    def mutated(self) -> str:
        """Return a path that is wrong in one place."""
        place = self.random.randrange(1, len(self.common))
        other = self.random.choice("abcdefgh/%.?;-")
        if self.common[place] == other:
            other = "~"
        return self.common[:place] + other + self.common[place + 1 :]

    def odd(self) -> str:
        """Return a target that is no path of anybody's."""
        pick = self.random
        return pick.choice(
            (
                "/",
                "/v2/credentials/",
                "/v2/credentials",
                "//v2/credentials/x",
                "/v2/credentials/../credentials/",
                "/latest/api/token",
                "/latest/meta-data/",
                ROLES,
                f"{ROLES}%00",
                f"/{self.text(pick.randrange(60))}",
            )
        )

    def text(self, length: int) -> str:
        """Return what may stand in a target and in a header."""
        return "".join(self.random.choices("ABCxyz019-_.~!$&'()*+,;=:@%", k=length))

    def malformed(self) -> tuple[bytes, int]:
        """Return what ends a connection; and 1 if it is told why."""
        pick, common = self.random, self.common
        good = request(common)
        return pick.choice(
            (
                lambda: (request(common, host=f"{self.text(5)}.example") + good, 1),
                lambda: (request(common, "X-Forwarded-For: 127.0.0.1") + good, 1),
                lambda: (request(f"http://{HOST}{common}") + good, 1),
                lambda: (
                    request(common, "Content-Length: 5", "Transfer-Encoding: chunked") + good,
                    1,
                ),
                lambda: (request(common, f"X: {'a' * 9000}") + good, 1),
                lambda: (pick.randbytes(pick.randrange(1, 200)) + b"\r\n\r\n" + good, 1),
                lambda: (b"GET " + common.encode() + b"\r\n\r\n" + good, 1),
                lambda: (good.replace(b"HTTP/1.1", b"HTTP/9.9") + good, 1),
                lambda: (good.replace(b"\r\nHost", b"\nHost") + good, 1),
            )
        )()


async def fuzzed(served, fuzz: Fuzz, batches: int) -> None:
    """Send batches, one connection each."""
    for _ in range(batches):
        sent, answered = fuzz.batch()
        received = await exchange(served, sent)
        found = statuses(received)
        assert harmless(received), sent
        assert len(found) == answered, (sent, found)
        assert not set(found) - {400, 401, 403, 404, 405, 413, 421, 431, 505}, (sent, found)


def test_100_000_fuzzed_requests_get_nothing(play, standing):
    """No credentials, no crash, nothing that grows, and a log that can be read."""

    async def case():
        async with standing() as (served, path):
            fuzz = Fuzz(served.relative_uri, path)
            with capture_logs() as logs:
                await fuzzed(served, fuzz, 100)  # whatever is filled once is filled now
                gc.collect()
                before = len(gc.get_objects())
                async with asyncio.TaskGroup() as group:
                    for _ in range(20):
                        group.create_task(fuzzed(served, fuzz, FUZZED // 10 // 20))
                gc.collect()
                grown = len(gc.get_objects()) - before
                after = statuses(await exchange(served, last(path), VICTIM))
            return logs, grown, after, sum(served.counts.answers.values()), (fuzz.common, path)

    logs, grown, after, answered, paths = play(case())
    assert after == [200]
    assert answered > FUZZED
    assert grown < 2000
    assert {line["event"] for line in logs} == {"relay.refused", "relay.answered"}
    assert len(logs) <= _EVENTS
    assert not any(path in repr(logs) for path in paths)
