"""Fixtures for tests of credentials: both event loops, a fake clock, a scripted upstream."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from sidecar.aws.container_credentials import Credentials, parse_credentials
from sidecar.net.http_server import Answer, Request, WaitingRequests
from sidecar.relay import Clock, Endpoint, Pace
from sidecar.relay.audit import Audit
from sidecar.relay.counts import Counts
from sidecar.relay.ecs_protocol import EcsProtocol
from sidecar.relay.identities import Identities
from sidecar.relay.imds_protocol import ImdsProtocol
from sidecar.relay.router import Router
from tests.support import servers

TIMEOUT = 120.0
START = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def _loops():
    yield pytest.param(asyncio.new_event_loop, id="asyncio")
    if sys.platform != "win32":
        import uvloop

        yield pytest.param(uvloop.new_event_loop, id="uvloop")


@pytest.fixture(params=list(_loops()))
def run(request):
    """Run a coroutine, in bounded time, on each event loop the agent may use."""

    def runs(work):
        async def bounded():
            async with asyncio.timeout(TIMEOUT):
                return await work

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(bounded())

    return runs


class Time:
    """A wall clock that moves only when a test moves it, and knows who sleeps."""

    def __init__(self) -> None:
        self.now = START
        self.waiters: list[tuple[float, asyncio.Future[None]]] = []
        self.came = asyncio.Event()

    @property
    def clock(self) -> Clock:
        """The clock to inject."""
        return Clock(lambda: self.now, self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has moved by `seconds`."""
        future = asyncio.get_running_loop().create_future()
        waiter = (self.now + seconds, future)
        self.waiters.append(waiter)
        self.came.set()
        try:
            await future
        finally:
            self.waiters.remove(waiter)

    async def advance(self, seconds: float) -> None:
        """Move the clock by `seconds`, and wake each sleeper at its time."""
        until = self.now + seconds
        while True:
            while not self.waiters:
                self.came.clear()
                await self.came.wait()
            due, future = self.waiters[0]
            if due > until:
                break
            self.now = due
            future.set_result(None)
            await asyncio.sleep(0)  # it takes itself off the list
        self.now = until


@pytest.fixture
def time():
    """Return the class: a clock belongs to the event loop in which it is made."""
    return Time


def moment(seconds: float) -> str:
    """Format seconds since the epoch as the ECS agent does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def held(expires: float, number: int = 1, **more: str) -> bytes:
    """Return the body of an answer with credentials."""
    document = {
        "RoleArn": "arn:aws:iam::123456789012:role/task",
        "AccessKeyId": f"ASIATESTKEY{number:05}",
        "SecretAccessKey": "SECRET-KEY",
        "Token": "SESSION-TOKEN",
        "Expiration": moment(expires),
        **more,
    }
    return json.dumps(document).encode()


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return the bytes of an HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Upstream:
    """An upstream that gives the `answers` one after another, and repeats the last one."""

    def __init__(self, *answers: bytes | None) -> None:
        self.endpoint = Endpoint("")
        self.where = ""
        self.answers = list(answers)
        """None: this request is not answered."""
        self.heads: list[str] = []
        self.kept: list[asyncio.StreamWriter] = []
        """The clients whose answer was None."""
        self.hanging = asyncio.Event()

    async def serve(self, reader, writer) -> None:
        """Answer one connection."""
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if now is None:
            self.kept.append(writer)
            self.hanging.set()
        else:
            writer.write(now)
            writer.close()

    def release(self, now: bytes = b"") -> None:
        """Answer the clients that still wait."""
        for writer in self.kept:
            writer.write(now)
            writer.close()
        self.kept.clear()


@pytest.fixture
def upstream():
    """Return a context manager that serves a scripted upstream."""

    @asynccontextmanager
    async def serving(*answers: bytes | None):
        served = Upstream(*answers)
        async with servers.serving(served.serve, backlog=1000) as server:
            served.where = "{}:{}".format(*server.sockets[0].getsockname()[:2])
            served.endpoint = Endpoint(f"http://{served.where}/SECRET-PATH")
            yield served

    return serving


@pytest.fixture
def say():
    """Return the functions that make answers."""

    class Say:
        start = START
        held = staticmethod(held)
        answer = staticmethod(answer)
        moment = staticmethod(moment)

        @staticmethod
        def good(expires: float = START + 6 * 3600, number: int = 1, **more: str) -> bytes:
            """Return an answer with credentials."""
            return answer(200, held(expires, number, **more), "Content-Type: application/json")

    return Say


@pytest.fixture
def hasty():
    """Return a pace with short pauses inside a fetch, which does not use the fake clock.

    No try is given up because the machine is busy: that would be one more.
    """
    return Pace(try_wait=0.001, try_wait_most=0.01, try_timeout=60.0)


class FakeRefresher:
    """Holds the credentials that a test sets."""

    def __init__(self, now) -> None:
        self.now = now
        self.newest: Credentials | None = None
        self.fetching = False

    def current(self) -> Credentials | None:
        """Return them, unless they have expired."""
        held = self.newest
        return held if held is not None and held.expires_at > self.now() else None


class RelayCore:
    """A relay without listener and upstream: router and both protocols, on a fake clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.local_peers: set[str] | None = None
        """Who may ask; None: anybody."""
        self.refresher = FakeRefresher(self.clock)
        self.hold(parse_credentials(held(5000.0), now=self.now, where=""))
        self.identities = Identities(
            self.refresher,
            self.clock,
            lambda peer: self.local_peers is None or peer in self.local_peers,
        )
        self.counts = Counts()
        self.router = Router(
            self.identities,
            EcsProtocol(self.identities),
            ImdsProtocol(self.identities, "eu-north-1", self.clock),
            Audit(self.clock),
            self.counts,
            self.clock,
            WaitingRequests(),
        )
        self.path = self.identities.default_path
        self.secret = self.path.rpartition("/")[2]

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def hold(self, credentials: Credentials | None) -> None:
        """Set the credentials of the last fetch."""
        self.refresher.newest = credentials

    def ask(
        self, target, *, method="GET", peer="127.0.0.1", host="169.254.170.2", headers=()
    ) -> Answer:
        """Ask by a request that passed the checks of the listener."""
        request = Request(method, target, {"host": host, **dict(headers)}, peer)
        return self.router.answer(request)


@pytest.fixture
def core():
    """Return a relay without a listener."""
    return RelayCore()
