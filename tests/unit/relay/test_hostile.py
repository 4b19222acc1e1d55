"""Hostile neighbours get no credentials, and do not disturb other clients.

They use real connections to a whole relay, from addresses of the loopback network.
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
from sidecar.net.file_budget import count_connections, divide_files
from sidecar.relay import server
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
def _allow_many_files():
    """Raise the limit of open files: both ends of a thousand connections are open here."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def play():
    """Return a function that runs a coroutine on uvloop, in bounded time."""

    def plays(work, timeout=240.0):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(asyncio.wait_for(work, timeout))

    return plays


@pytest.fixture
def serve(upstream, say):
    """Return a context manager: a relay with both protocols, and a victim's path."""

    @asynccontextmanager
    async def serve(**options):
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

    return serve


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


def make_head(target: str, *headers: str, method: str = "GET", host: str = HOST) -> bytes:
    """Return the head of a request."""
    lines = (f"{method} {target} HTTP/1.1", f"Host: {host}", *headers)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def make_last(target: str, *headers: str, **options: str) -> bytes:
    """Return a head that closes the connection."""
    return make_head(target, *headers, "Connection: close", **options)


def read_statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def has_no_secret(received: bytes) -> bool:
    """Return whether the answers have no secret."""
    return not any(secret in received for secret in SECRETS)


def test_rightful_clients_are_served(play, serve):
    """The other tests would be worth nothing if nobody got credentials."""

    async def case():
        async with serve() as (served, path):
            own = await exchange(served, make_last(path), VICTIM)
            common = await exchange(served, make_last(served.relative_uri), THIEF)
            ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60"
            said = await exchange(
                served, make_last("/latest/api/token", ttl, method="PUT", host=IMDS)
            )
            token = said.rpartition(b"\r\n")[2].decode()
            by_token = await exchange(
                served, make_last(ROLES, f"X-aws-ec2-metadata-token: {token}", host=IMDS)
            )
            return own, common, by_token

    for received in play(case()):
        assert read_statuses(received) == [200]
        assert not has_no_secret(received)


# Placeholders for the common path and the victim's own path.
COMMON, OWN = "/%common", "/%own"
ATTACKS = {
    "another's path": (403, make_last(OWN)),
    "another's path, again": (403, make_head(OWN) + make_last(OWN)),
    "a guessed path": (400, make_last(f"/v2/credentials/{'A' * 43}")),
    "more than the path": (400, make_last(f"{COMMON}/")),
    "a query behind the path": (400, make_last(f"{COMMON}?")),
    "forged Host": (421, make_last(COMMON, host="evil.example")),
    "both Hosts": (400, make_last(COMMON, "Host: evil.example")),
    "the Host of the other protocol": (401, make_last(COMMON, host=IMDS)),
    "forwarded": (403, make_last(COMMON, "X-Forwarded-For: 127.0.0.1")),
    "via": (403, make_last(COMMON, "Via: 1.1 proxy")),
    "absolute form": (400, make_last(f"http://{HOST}{COMMON}")),
    "a body": (413, make_last(COMMON, "Content-Length: 1") + b"x"),
    "giant header": (431, make_last(COMMON, f"X: {'a' * 9000}")),
    "endless headers": (431, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000),
    "IMDSv1": (401, make_last(ROLES, host=IMDS)),
    "a made-up token": (
        401,
        make_last(ROLES, f"X-aws-ec2-metadata-token: {'A' * 56}", host=IMDS),
    ),
    "a token through a proxy": (
        403,
        make_last(
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
            make_head(COMMON, "Content-Length: 4", "Transfer-Encoding: chunked", method="POST")
            + b"0\r\n\r\n"
            + make_head(COMMON)
        ),
    ),
    "encoding, length and a hidden request": (
        400,
        (
            make_head(COMMON, "Transfer-Encoding: chunked", "Content-Length: 4")
            + b"0\r\n\r\n"
            + make_head(COMMON)
        ),
    ),
    "a hidden request in a length": (
        413,
        (make_head(COMMON, f"Content-Length: {len(make_head(COMMON))}") + make_head(COMMON)),
    ),
}


def make_attack(name: str, served, own: str) -> bytes:
    """Return the bytes of an attack."""
    sent = ATTACKS[name][1].replace(COMMON.encode(), served.relative_uri.encode())
    return sent.replace(OWN.encode(), own.encode())


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_refusals_and_one_event(play, serve, name):
    """A hidden second request is never read, and the log names the peer."""

    async def case():
        async with serve() as (served, path):
            with capture_logs() as logs:
                received = await exchange(served, make_attack(name, served, path))
        return received, logs, (served.relative_uri, path)

    received, logs, paths = play(case())
    found = read_statuses(received)
    assert has_no_secret(received)
    assert set(found) == {ATTACKS[name][0]}
    refused = [line for line in logs if line["event"] == "relay.refused"]
    assert {line["peer"] for line in refused} == {THIEF}
    assert len(refused) == 1
    assert not any(path in repr(logs) for path in paths)


def test_a_peer_from_outside_learns_nothing(play, serve):
    """It gets the same refusal for everything that it asks."""

    async def case():
        async with serve() as (served, path):
            return [
                await exchange(served, sent, STRANGER)
                for sent in (
                    make_last(served.relative_uri),
                    make_last(path),
                    make_last("/"),
                    make_last("/latest/api/token", method="PUT", host=IMDS),
                )
            ]

    received = play(case())
    assert len(set(received)) == 1
    assert read_statuses(received[0]) == [403]


def test_the_session_token_of_another_container_is_refused(play, serve):
    """A token is signed for the address that asked for it."""

    async def case():
        async with serve() as (served, _):
            ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60"
            asked = make_last("/latest/api/token", ttl, method="PUT", host=IMDS)
            token = (await exchange(served, asked, VICTIM)).rpartition(b"\r\n")[2].decode()
            sent = make_last(ROLES, f"X-aws-ec2-metadata-token: {token}", host=IMDS)
            return [read_statuses(await exchange(served, sent, peer)) for peer in (THIEF, VICTIM)]

    assert play(case()) == [[401], [200]]


@pytest.mark.alone
def test_refusals_are_quick(play, serve):
    """Within 50 ms, for clients with short timeouts; the median, since the machine is shared."""

    async def case():
        loop, took = asyncio.get_running_loop(), []
        async with serve() as (served, path):
            for name in ("another's path", "a guessed path", "forged Host", "IMDSv1", "via"):
                sent = make_attack(name, served, path)
                for _ in range(9):
                    began = loop.time()
                    assert has_no_secret(await exchange(served, sent))
                    took.append(loop.time() - began)
        return median(took)

    assert play(case()) < 0.05


def test_idle_and_slow_connections_do_not_block_others(play, serve):
    """A thousand that send nothing and a hundred that send slowly end by their deadlines."""

    async def case():
        limits = http_server.Limits(
            # Longer than a busy machine stands still: a good client is not late then.
            connections=2048,
            backlog=2048,
            head_seconds=6.0,
            idle_seconds=6.0,
        )
        async with serve(limits=limits) as (served, path):
            idle = [
                await asyncio.open_connection(served.host, served.port, local_addr=(THIEF, 0))
                for _ in range(1000)
            ]
            slow = [asyncio.create_task(send_slowly(served)) for _ in range(100)]
            good = [
                read_statuses(await exchange(served, make_last(path), VICTIM)) for _ in range(20)
            ]
            ends = [await reader.read() for reader, _ in idle]
            for _, writer in idle:
                writer.close()
            return good, ends, await asyncio.gather(*slow)

    good, ends, slow = play(case())
    assert good == [[200]] * 20
    assert set(ends) == {b""}
    assert {tuple(read_statuses(received)) for received in slow} == {(408,)}


def test_the_agent_keeps_file_descriptors_for_itself(play, serve, monkeypatch):
    """A client with endless connections gets only a part of the open files that are allowed."""
    monkeypatch.setattr(server, "max_open_files", lambda: 400)
    # None of them becomes idle, or late, before the others are open.
    patient = server.LIMITS._replace(grace_seconds=60.0, head_seconds=60.0)
    monkeypatch.setattr(server, "LIMITS", patient)
    share = count_connections(divide_files(400).relay).served

    async def case():
        async with serve() as (served, _):
            opened = [
                await asyncio.open_connection(served.host, served.port, local_addr=(THIEF, 0))
                for _ in range(share)
            ]
            more = [read_statuses(await exchange(served, b"")) for _ in range(3)]
            for _, writer in opened:
                writer.close()
            return more

    assert play(case()) == [[503]] * 3


async def send_slowly(served) -> bytes:
    """Send a head that never ends, line by line."""
    reader, writer = await asyncio.open_connection(served.host, served.port, local_addr=(THIEF, 0))
    writer.write(make_head(served.relative_uri)[:-2])
    ended = asyncio.create_task(reader.read())
    while not ended.done():
        writer.write(b"X: y\r\n")
        await asyncio.wait([ended], timeout=0.2)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return ended.result()


# --- fuzz ---------------------------------------------------------------------------------------


class Fuzz:
    """Makes requests that must get no credentials; the same ones for the same seed."""

    def __init__(self, common: str, own: str) -> None:
        self.random = random.Random(SEED)  # noqa: S311  nothing secret comes of it
        self.common = common
        self.own = own

    def batch(self) -> tuple[bytes, int]:
        """Return nine well-formed requests and a malformed one, and the number of answers."""
        sent = b"".join(self.well_formed() for _ in range(9))
        end, answered = self.malformed()
        return sent + end, 9 + answered

    def well_formed(self) -> bytes:
        """Return a well-formed request without a valid path or token."""
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
        return make_head(target, *headers, method=method, host=host)

    def guessed(self) -> str:
        """Return a path of the right form."""
        return f"/v2/credentials/{self.text(43)}"

    def mutated(self) -> str:
        """Return the common path with one wrong character."""
        place = self.random.randrange(1, len(self.common))
        other = self.random.choice("abcdefgh/%.?;-")
        if self.common[place] == other:
            other = "~"
        return self.common[:place] + other + self.common[place + 1 :]

    def odd(self) -> str:
        """Return a target that no client has."""
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
        """Return text that is allowed in a target and in a header."""
        return "".join(self.random.choices("ABCxyz019-_.~!$&'()*+,;=:@%", k=length))

    def malformed(self) -> tuple[bytes, int]:
        """Return what closes a connection, and 1 if that is answered."""
        pick, common = self.random, self.common
        good = make_head(common)
        return pick.choice(
            (
                lambda: (make_head(common, host=f"{self.text(5)}.example") + good, 1),
                lambda: (make_head(common, "X-Forwarded-For: 127.0.0.1") + good, 1),
                lambda: (make_head(f"http://{HOST}{common}") + good, 1),
                lambda: (
                    make_head(common, "Content-Length: 5", "Transfer-Encoding: chunked") + good,
                    1,
                ),
                lambda: (make_head(common, f"X: {'a' * 9000}") + good, 1),
                lambda: (pick.randbytes(pick.randrange(1, 200)) + b"\r\n\r\n" + good, 1),
                lambda: (b"GET " + common.encode() + b"\r\n\r\n" + good, 1),
                lambda: (good.replace(b"HTTP/1.1", b"HTTP/9.9") + good, 1),
                lambda: (good.replace(b"\r\nHost", b"\nHost") + good, 1),
            )
        )()


async def send_batches(served, fuzz: Fuzz, batches: int) -> None:
    """Send batches, each on its own connection."""
    for _ in range(batches):
        sent, answered = fuzz.batch()
        received = await exchange(served, sent)
        found = read_statuses(received)
        assert has_no_secret(received), sent
        assert len(found) == answered, (sent, found)
        assert not set(found) - {400, 401, 403, 404, 405, 413, 421, 431, 505}, (sent, found)


def test_100_000_fuzzed_requests_get_nothing(play, serve):
    """No credentials, no crash, no growing memory, and a log of limited length."""

    async def case():
        async with serve() as (served, path):
            fuzz = Fuzz(served.relative_uri, path)
            with capture_logs() as logs:
                await send_batches(served, fuzz, 100)  # the caches are full now
                gc.collect()
                before = len(gc.get_objects())
                async with asyncio.TaskGroup() as group:
                    for _ in range(20):
                        group.create_task(send_batches(served, fuzz, FUZZED // 10 // 20))
                gc.collect()
                grown = len(gc.get_objects()) - before
                after = read_statuses(await exchange(served, make_last(path), VICTIM))
            return logs, grown, after, sum(served.counts.answers.values()), (fuzz.common, path)

    logs, grown, after, answered, paths = play(case())
    assert after == [200]
    assert answered > FUZZED
    assert grown < 2000
    assert {line["event"] for line in logs} == {"relay.refused", "relay.answered"}
    assert len(logs) <= _EVENTS
    assert not any(path in repr(logs) for path in paths)
