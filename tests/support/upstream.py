"""What the relay's tests share: both event loops, a clock of their own, an upstream on a script."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from sidecar.aws.container_credentials import Credentials, parse
from sidecar.net.http_server import Answer, Later, Request
from sidecar.relay import Clock, Endpoint, Pace
from sidecar.relay.audit import Audit
from sidecar.relay.counts import Counts
from sidecar.relay.identities import Identities
from sidecar.relay.imds_protocol import ImdsProtocol
from sidecar.relay.protocol import EcsProtocol
from sidecar.relay.router import Router

TIMEOUT = 30.0
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
    """A wall clock that moves only when told, and knows who waits for it."""

    def __init__(self) -> None:
        self.now = START
        self.waiters: list[tuple[float, asyncio.Future[None]]] = []
        self.came = asyncio.Event()

    @property
    def clock(self) -> Clock:
        """The clock to inject."""
        return Clock(lambda: self.now, self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far."""
        future = asyncio.get_running_loop().create_future()
        waiter = (self.now + seconds, future)
        self.waiters.append(waiter)
        self.came.set()
        try:
            await future
        finally:
            self.waiters.remove(waiter)

    async def pass_(self, seconds: float) -> None:
        """Move on by `seconds`, letting the one who waits act whenever its time has come."""
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
    """Give the class, since a clock belongs to the loop it is made in."""
    return Time


def moment(seconds: float) -> str:
    """Write seconds since the epoch as the agent does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def held(expires: float, number: int = 1, **more: str) -> bytes:
    """Return a body with credentials."""
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
    """Return an answer's bytes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Upstream:
    """An upstream that answers what stands in `answers`; the last one again and again."""

    def __init__(self, *answers: bytes | None) -> None:
        self.endpoint = Endpoint("")
        self.where = ""
        self.answers = list(answers)
        """None: never."""
        self.heads: list[str] = []
        self.kept: list[asyncio.StreamWriter] = []
        """Who waits for an answer that was None."""
        self.hanging = asyncio.Event()

    async def answered(self, reader, writer) -> None:
        """Serve one connection."""
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        now = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if now is None:
            self.kept.append(writer)
            self.hanging.set()
        else:
            writer.write(now)
            writer.close()

    def release(self, now: bytes = b"") -> None:
        """Answer who waits."""
        for writer in self.kept:
            writer.write(now)
            writer.close()
        self.kept.clear()


@pytest.fixture
def upstream():
    """Give what serves a scripted upstream for the time of a block."""

    @asynccontextmanager
    async def serving(*answers: bytes | None):
        served = Upstream(*answers)
        server = await asyncio.start_server(served.answered, "127.0.0.1", 0, backlog=1000)
        served.where = "{}:{}".format(*server.sockets[0].getsockname()[:2])
        served.endpoint = Endpoint(f"http://{served.where}/SECRET-PATH")
        try:
            yield served
        finally:
            served.release()
            server.close()

    return serving


@pytest.fixture
def say():
    """Give the functions that make answers."""

    class Say:
        start = START
        held = staticmethod(held)
        answer = staticmethod(answer)
        moment = staticmethod(moment)

        @staticmethod
        def good(expires: float = START + 6 * 3600, number: int = 1, **more: str) -> bytes:
            """Answer with credentials."""
            return answer(200, held(expires, number, **more), "Content-Type: application/json")

    return Say


@pytest.fixture
def hasty():
    """Give a pace with short waits inside a flight, which the injected clock does not rule."""
    return Pace(try_wait=0.001, try_wait_most=0.01)


class Held:
    """Stands for a keeper that holds what it is told."""

    def __init__(self, now) -> None:
        self.now = now
        self.newest: Credentials | None = None
        self.flying = False

    def current(self) -> Credentials | None:
        """Return it, unless it has expired."""
        held = self.newest
        return held if held is not None and held.expires_at > self.now() else None


class Fronted:
    """Both faces on what is held, on a clock that stands; asked without a socket."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.locals: set[str] | None = None
        """Who may ask; None: anybody."""
        self.refresher = Held(self.clock)
        self.hold(parse(held(5000.0), now=self.now, where=""))
        self.identities = Identities(self.refresher, self.clock)
        self.counts = Counts()
        self.front = Router(
            EcsProtocol(self.identities),
            ImdsProtocol(self.identities, "eu-north-1", self.clock),
            Audit(self.clock),
            self.counts,
            self.clock,
            Later(),
            lambda peer: self.locals is None or peer in self.locals,
        )
        self.path = self.identities.default_path
        self.secret = self.path.rpartition("/")[2]

    def clock(self) -> float:
        """Tell the time."""
        return self.now

    def hold(self, credentials: Credentials | None) -> None:
        """Let upstream have answered this."""
        self.refresher.newest = credentials

    def ask(
        self, target, *, method="GET", peer="127.0.0.1", host="169.254.170.2", headers=()
    ) -> Answer:
        """Ask as one who got past the listener."""
        request = Request(method, target, {"host": host, **dict(headers)}, peer)
        return self.front.answer(request)


@pytest.fixture
def front():
    """Give both faces, without a listener."""
    return Fronted()
