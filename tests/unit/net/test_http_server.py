"""The HTTP listener: what it answers, what it refuses, and hostile clients."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.net import http_server
from sidecar.net.http_server import Answer, Limits, Request

TIMEOUT = 20.0


@asynccontextmanager
async def echoing(**options):
    """Answer with method and target; `requests` has the requests that passed the checks."""
    requests: list[Request] = []

    def answer(request: Request) -> Answer:
        requests.append(request)
        if request.target == "/boom":
            raise ZeroDivisionError
        if request.target == "/large":
            return Answer(200, b"x" * 1_000_000)
        return Answer(200, f"{request.method} {request.target}".encode())

    async with http_server.listening("127.0.0.1", 0, answer, **options) as (host, port):
        yield SimpleNamespace(host=host, port=port, requests=requests, name=f"{host}:{port}")


def head(server, target="/x", method="GET", version="1.1", *more: str) -> bytes:
    """Return the head of a request, with the right Host and `more` headers."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {server.name}", *more]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


async def exchange(server, sent: bytes) -> bytes:
    """Send, and read until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(sent)
        return await read_all(reader)
    finally:
        await close(writer)


async def read_all(reader) -> bytes:
    """Read until the end; a reset counts as an end."""
    received = []
    with suppress(ConnectionError):
        while chunk := await reader.read(2**20):
            received.append(chunk)
    return b"".join(received)


async def read_one(reader) -> tuple[int, bytes]:
    """Read one answer from a connection that stays open."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), await reader.readexactly(int(fields["Content-Length"]))


async def close(writer) -> None:
    """Close the connection, also if the server closed it already."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def statuses(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


# --- what is answered ---------------------------------------------------------------------------


def test_an_answer_has_only_the_necessary_headers(run):
    """An answer has type, length and no-store, and nothing about the program."""

    async def case():
        async with echoing() as server:
            return await exchange(server, head(server, "/x", "GET", "1.1", "Connection: close"))

    assert run(case()) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"
        b"Cache-Control: no-store\r\nConnection: close\r\n\r\nGET /x"
    )


def test_a_request_carries_method_target_headers_and_peer(run):
    """`answer` gets header names in lower case, repeated headers joined, and the peer."""

    async def case():
        async with echoing() as server:
            more = ("X-A: 1", "x-a: 2", "X-B:  spaced\t", "Connection: close")
            await exchange(server, head(server, "/a?b=c", "PUT", "1.1", *more))
            return server.requests[0]

    request = run(case())
    assert (request.method, request.target, request.peer) == ("PUT", "/a?b=c", "127.0.0.1")
    assert request.headers["x-a"] == "1, 2"
    assert request.headers["x-b"] == "spaced"


def test_the_loop_may_hand_over_its_own_buffer(run, monkeypatch):
    """The Proactor loop of Python 3.11 hands over a bytearray, which is no key of a cache."""
    receive = http_server._Connection.data_received
    monkeypatch.setattr(
        http_server._Connection,
        "data_received",
        lambda self, data: receive(self, bytearray(data)),
    )

    async def case():
        async with echoing() as server:
            first, last = head(server), head(server, "/y", "GET", "1.1", "Connection: close")
            return await exchange(server, first + last)

    assert statuses(run(case())) == [200, 200]


def test_the_same_head_again_is_another_request(run):
    """The checks of a head are cached, but each request has its own peer."""

    async def case():
        async with echoing() as server:
            sent = head(server, "/x", "GET", "1.0")
            await exchange(server, sent)
            for number in range(100):
                await exchange(server, head(server, f"/{number}", "GET", "1.0"))
            local = ("127.0.0.2", 0)
            reader, writer = await asyncio.open_connection(
                server.host, server.port, local_addr=local
            )
            writer.write(sent)
            received = await read_all(reader)
            await close(writer)
            return received, [request.peer for request in server.requests if request.target == "/x"]

    received, peers = run(case())
    assert received.endswith(b"GET /x")
    assert peers == ["127.0.0.1", "127.0.0.2"]


def test_secrets_have_no_repr():
    """The repr of a request and of an answer shows no secret."""
    shown = repr(Request("GET", "/secret", {}, "")) + repr(Answer(200, b"secret"))
    assert "secret" not in shown


def test_pipelined_requests_are_answered_in_order(run):
    """Also if one packet has many heads, and the last one continues in the next packet."""

    async def case():
        async with echoing() as server:
            sent = b"".join(head(server, f"/{number}") for number in range(500))
            sent += head(server, "/last", "GET", "1.1", "Connection: close")
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(sent[:-30])
            for number in range(500):
                assert await read_one(reader) == (200, f"GET /{number}".encode())
            writer.write(sent[-30:])
            assert (await read_all(reader)).endswith(b"GET /last")
            await close(writer)

    run(case())


def test_a_head_may_arrive_byte_by_byte(run):
    """The limits of packets do not matter; an empty line before a request is skipped."""

    async def case():
        async with echoing() as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            for byte in b"\r\n" + head(server) + head(server, "/y"):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert await read_one(reader) == (200, b"GET /x")
            assert await read_one(reader) == (200, b"GET /y")
            await close(writer)

    run(case())


def test_head_has_no_body_and_keeps_the_length(run):
    """HEAD gets the answer of GET without the body; the next answer follows correctly."""

    async def case():
        async with echoing() as server:
            sent = head(server, "/x", "HEAD") + head(
                server, "/y", "GET", "1.1", "Connection: close"
            )
            return await exchange(server, sent)

    received = run(case())
    assert b"Content-Length: 7\r\n" in received
    assert statuses(received) == [200, 200]
    assert b"HEAD" not in received
    assert received.endswith(b"GET /y")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_older_client_is_answered_once(run, version):
    """A client of HTTP/1.0, or with `Connection: close`, gets one answer and the end."""

    async def case():
        async with echoing() as server:
            sent = head(server, "/x", "GET", version, "Connection: close")
            return await exchange(server, sent + head(server, "/y"))

    received = run(case())
    assert statuses(received) == [200]
    assert b"Connection: close\r\n" in received


def test_an_offer_to_upgrade_is_ignored(run):
    """A client that offers HTTP/2 in the clear gets its HTTP/1.1 answer."""

    async def case():
        async with echoing() as server:
            more = (
                "Connection: Upgrade, HTTP2-Settings",
                "Upgrade: h2c",
                "HTTP2-Settings: AAMAAABk",
            )
            return await exchange(server, head(server, "/x", "GET", "1.1", *more))

    assert run(case()).endswith(b"\r\n\r\nGET /x")


def test_an_exception_in_answer_is_a_500_and_an_event(run):
    """Later requests are answered."""

    async def case():
        async with echoing() as server:
            with capture_logs() as logs:
                received = await exchange(server, head(server, "/boom"))
            after = await exchange(server, head(server, "/x", "GET", "1.0"))
            return received, after, logs

    received, after, logs = run(case())
    assert statuses(received) == [500]
    assert statuses(after) == [200]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("http.request_failed", "error")
    ]


# --- cached answers, and requests that wait ------------------------------------------------------


@asynccontextmanager
async def repeating(**options):
    """Answer by a cached answer, as long as `valid`; `judged` has the peers of other requests."""
    served = SimpleNamespace(judged=[], valid=True)

    def answer(request: Request) -> Answer:
        served.judged.append(request.peer)
        made = Answer(200, b"judged").copy()
        wire = Answer(200, b"cached").wire
        made.replay = lambda: wire if served.valid else None
        return made

    async with http_server.listening("127.0.0.1", 0, answer, **options) as (host, port):
        served.host, served.port, served.name = host, port, f"{host}:{port}"
        yield served


async def bodies(server, *sent: bytes, peer="127.0.0.1") -> list[bytes]:
    """Send one after the other on one connection; return the bodies of the answers."""
    reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=(peer, 0))
    found = []
    for data in sent:
        writer.write(data)
        found.append((await read_one(reader))[1])
    await close(writer)
    return found


def test_a_cached_answer_is_repeated_without_judging(run):
    """For the same bytes from the same peer, on each of its connections, until it is void."""

    async def case():
        async with repeating() as server:
            sent = head(server)
            first = await bodies(server, sent, sent, sent)
            other = await bodies(server, sent)
            stranger = await bodies(server, sent, peer="127.0.0.2")
            longer = await bodies(server, head(server, "/x", "GET", "1.1", "X: y"))
            server.valid = False
            void = await bodies(server, sent)
            return first, other, stranger, longer, void, server.judged

    first, other, stranger, longer, void, judged = run(case())
    assert first == [b"judged", b"cached", b"cached"]
    assert other == [b"cached"]
    assert stranger == longer == void == [b"judged"]
    assert judged == ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.1"]


def test_the_rest_of_a_head_never_gets_a_cached_answer(run):
    """Bytes are compared with cached heads only where a head can begin."""

    async def case():
        async with repeating() as server:
            sent = head(server)
            await bodies(server, sent)
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"GET /x HTTP/1.1\r\nX: ")
            await writer.drain()
            await bodies(server, sent)  # by then the half head was read
            writer.write(sent)
            received = await read_one(reader)
            await close(writer)
            return received

    assert run(case()) == (200, b"judged")


def test_some_answers_are_not_cached(run):
    """Those for HEAD, for the last request of a connection, and for large heads."""

    async def case():
        async with repeating() as server:
            last = head(server, "/x", "GET", "1.1", "Connection: close")
            for _ in range(2):
                assert (await exchange(server, last)).endswith(b"judged")
                large = head(server, "/x", "GET", "1.1", f"X: {'a' * 1024}")
                assert await bodies(server, large, large) == [b"judged"] * 2
                sent = head(server, "/x", "HEAD") + last
                assert (await exchange(server, sent)).count(b"judged") == 1

    run(case())


def test_the_number_of_cached_answers_is_limited(run):
    """For each peer, and the number of peers too."""

    async def case():
        async with repeating() as server:
            sent = [head(server, f"/{number}") for number in range(20)]
            await bodies(server, *sent)
            again = await bodies(server, *reversed(sent))
            for number in range(300):
                peer = f"127.0.{number // 250 + 1}.{number % 250 + 1}"
                assert await bodies(server, sent[0], sent[0], peer=peer) == [b"judged", b"cached"]
            forgotten = await bodies(server, sent[0])
            return again.count(b"cached"), forgotten

    cached, forgotten = run(case())
    assert 1 <= cached <= 8
    assert forgotten == [b"judged"]


@asynccontextmanager
async def holding(**options):
    """Let requests wait, except for `/now`; answer with the target."""
    served = SimpleNamespace(
        waiting=http_server.WaitingRequests(), asked=asyncio.Event(), answers=[]
    )

    def answer(request: Request) -> Answer:
        made = Answer(200, request.target.encode()).copy()
        if not request.has_waited and request.target != "/now":
            made.wait_in = served.waiting
            served.asked.set()
        served.answers.append((request.target, request.has_waited))
        return made

    async with http_server.listening("127.0.0.1", 0, answer, **options) as (host, port):
        served.host, served.port, served.name = host, port, f"{host}:{port}"
        yield served


PATIENT = Limits(patience_seconds=TIMEOUT)


def test_waiting_requests_are_answered_in_order(run):
    """Also the requests behind them; `answer` is called once more for each."""

    async def case():
        async with holding(limits=PATIENT) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(head(server, "/wait") + head(server, "/now") + head(server, "/wait2"))
            await server.asked.wait()
            assert server.answers == [("/wait", False)]
            server.asked.clear()
            server.waiting.answer_all()
            found = [await read_one(reader), await read_one(reader)]
            await server.asked.wait()
            server.waiting.answer_all()
            found.append(await read_one(reader))
            writer.write(head(server, "/now"))
            found.append(await read_one(reader))
            await close(writer)
            return found

    assert run(case()) == [(200, b"/wait"), (200, b"/now"), (200, b"/wait2"), (200, b"/now")]


def test_a_request_waits_only_for_a_moment(run):
    """Then it gets the answer that there is."""

    async def case():
        async with holding(limits=Limits(patience_seconds=0.05)) as server:
            return await exchange(server, head(server, "/wait", "GET", "1.0")), server.answers

    received, answers = run(case())
    assert received.endswith(b"\r\n\r\n/wait")
    assert answers == [("/wait", False), ("/wait", True)]


@pytest.mark.alone
def test_a_client_that_leaves_while_it_waits_is_removed(run):
    """It is not answered, and the listener ends at once although another client waits."""

    async def case():
        loop = asyncio.get_running_loop()
        async with holding(limits=PATIENT) as server:
            _, gone = await asyncio.open_connection(server.host, server.port)
            gone.write(head(server, "/wait"))
            await server.asked.wait()
            gone.transport.abort()
            reader, writer = await asyncio.open_connection(server.host, server.port)
            server.asked.clear()
            writer.write(head(server, "/wait"))
            await server.asked.wait()
            began = loop.time()
        took = loop.time() - began
        server.waiting.answer_all()  # nothing left to do
        assert await read_all(reader) == b""
        await close(writer)
        return took, len(server.answers)

    took, asked = run(case())
    assert took < 2.0
    assert asked == 2


# --- Host ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("127.0.0.1:{port}", True),
        ("localhost:{port}", True),
        ("LOCALHOST:{port}", True),
        ("169.254.170.2", True),
        ("169.254.170.2:80", True),
        ("169.254.170.2:{port}", True),
        ("127.0.0.1", False),
        ("localhost", False),
        ("127.0.0.1:1", False),
        ("evil.example", False),
        ("evil.example:{port}", False),
        ("127.0.0.1.evil.example:{port}", False),
        ("169.254.170.2@evil.example", False),
        ("", False),
    ],
)
def test_only_the_listeners_names_are_accepted_as_host(run, host, accepted):
    """Another name, as in DNS rebinding, gets 421; an empty one gets 400."""

    async def case():
        async with echoing(names=["169.254.170.2"]) as server:
            named = host.format(port=server.port)
            sent = f"GET /x HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n"
            return await exchange(server, sent.encode())

    assert statuses(run(case())) == [200 if accepted else 421 if host else 400]


def test_a_listener_on_every_address_accepts_any_address_and_no_name(run):
    """A health check by the task's address is answered; DNS rebinding is not."""

    async def case():
        answer = Answer(200, b"well")
        async with http_server.listening("0.0.0.0", 0, lambda _: answer) as (_, port):
            server = SimpleNamespace(host="127.0.0.1", port=port)
            for host, status in [
                (f"10.0.2.61:{port}", 200),
                (f"[fd00::1]:{port}", 200),
                ("10.0.2.61", 200),
                ("[::1", 421),
                (f"evil.example:{port}", 421),
                ("10.0.2.61.evil.example", 421),
            ]:
                sent = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                assert statuses(await exchange(server, sent.encode())) == [status], host

    run(case())


def test_ipv6_is_served_like_ipv4(run):
    """The Host of an IPv6 address is in brackets."""

    async def case():
        answer = Answer(200, b"well")
        async with http_server.listening("::1", 0, lambda _: answer) as (host, port):
            server = SimpleNamespace(host=host, port=port)
            sent = f"GET / HTTP/1.0\r\nHost: [::1]:{port}\r\n\r\n"
            return await exchange(server, sent.encode())

    try:
        assert statuses(run(case())) == [200]
    except OSError as error:
        pytest.skip(f"needs IPv6: {error}")


# --- what is refused ----------------------------------------------------------------------------

SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: %h\r\n\r\n"
REFUSED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: %h\r\nHost: %h\r\n\r\n", 400),
    "three hosts": (b"GET / HTTP/1.1\r\nHost: %h\r\nHost: %h\r\nHost: %h\r\n\r\n", 400),
    "no host in 1.0": (b"GET / HTTP/1.0\r\n\r\n", 400),
    "absolute form": (b"GET http://%h/ HTTP/1.1\r\nHost: %h\r\n\r\n", 400),
    "absolute form elsewhere": (b"GET http://a/ HTTP/1.1\r\nHost: %h\r\n\r\n", 400),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: %h\r\n\r\n", 400),
    "connect": (b"CONNECT %h HTTP/1.1\r\nHost: %h\r\n\r\n", 400),
    "forwarded for": (b"GET / HTTP/1.1\r\nHost: %h\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", 403),
    "forwarded for nobody": (b"GET / HTTP/1.1\r\nHost: %h\r\nx-forwarded-for:\r\n\r\n", 403),
    "forwarded": (b"GET / HTTP/1.1\r\nHost: %h\r\nForwarded: for=a\r\n\r\n", 403),
    "via": (b"GET / HTTP/1.1\r\nHost: %h\r\nVia: 1.1 proxy\r\n\r\n", 403),
    "body": (b"POST / HTTP/1.1\r\nHost: %h\r\nContent-Length: 5\r\n\r\nhello", 413),
    "body of 00": (b"GET / HTTP/1.1\r\nHost: %h\r\nContent-Length: 0x0\r\n\r\n", 400),
    "chunked": (b"GET / HTTP/1.1\r\nHost: %h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
    "odd encoding": (b"GET / HTTP/1.1\r\nHost: %h\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    "folded encoding": (
        b"GET / HTTP/1.1\r\nHost: %h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        400,
    ),
    "length and encoding": (
        b"GET / HTTP/1.1\r\nHost: %h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        + SMUGGLED,
        400,
    ),
    "encoding and length": (
        b"GET / HTTP/1.1\r\nHost: %h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
        + SMUGGLED,
        400,
    ),
    "two lengths": (
        b"GET / HTTP/1.1\r\nHost: %h\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        400,
    ),
    "negative length": (b"GET / HTTP/1.1\r\nHost: %h\r\nContent-Length: -1\r\n\r\n", 400),
    "bare newlines": (
        b"GET / HTTP/1.1\nHost: %h\n\nGET /smuggled HTTP/1.1\r\nHost: %h\r\n\r\n",
        400,
    ),
    "bare newline": (b"GET / HTTP/1.1\r\nHost: %h\nX: y\r\n\r\n", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : %h\r\n\r\n", 400),
    "folded": (b"GET / HTTP/1.1\r\nHost: %h\r\nX: a\r\n b\r\n\r\n", 400),
    "nul": (b"GET / HTTP/1.1\r\nHost: %h\r\nX: a\0b\r\n\r\n", 400),
    "space in target": (b"GET /a b HTTP/1.1\r\nHost: %h\r\n\r\n", 400),
    "not ascii": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: %h\r\n\r\n", 400),
    "unknown method": (b"FETCH / HTTP/1.1\r\nHost: %h\r\n\r\n", 400),
    "0.9": (b"GET /\r\n\r\n", 505),
    "1.2": (b"GET / HTTP/1.2\r\nHost: %h\r\n\r\n", 400),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "rtsp": (b"GET / RTSP/1.0\r\nHost: %h\r\n\r\n", 505),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "empty lines": (b"\r\n\r\n\r\n\r\n", 505),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_ambiguous_request_is_refused_and_its_connection_closed(run, name):
    """There is exactly one refusal; a request hidden behind it is never answered."""
    sent, status = REFUSED[name]

    async def case():
        async with echoing() as server:
            full = sent.replace(b"%h", server.name.encode())
            received = await exchange(server, full + head(server, "/after"))
            return received, server.requests

    received, requests = run(case())
    assert statuses(received) == [status]
    assert b"Connection: close\r\n" in received
    assert requests == []


def test_an_explicit_empty_body_is_no_body(run):
    """`Content-Length: 0`, which some clients always send, is accepted."""

    async def case():
        async with echoing() as server:
            more = ("Content-Length: 0", "Connection: close")
            return await exchange(server, head(server, "/x", "PUT", "1.1", *more))

    assert statuses(run(case())) == [200]


def test_refuse_makes_the_answers_to_refused_requests(run):
    """It gets status, reason and peer."""

    async def case():
        seen = []

        def refuse(refusal):
            seen.append(refusal)
            return Answer(refusal.status, b"{}", "application/json")

        async with echoing(refuse=refuse) as server:
            return await exchange(server, b"GET / HTTP/1.1\r\n\r\n"), seen

    received, seen = run(case())
    assert b"Content-Type: application/json\r\n" in received
    assert seen == [(400, "not exactly one Host", "127.0.0.1")]


@pytest.mark.parametrize(("size", "status"), [(8192, 200), (8193, 431)])
def test_a_head_has_at_most_8_kib(run, size, status):
    """Exactly."""

    async def case():
        async with echoing() as server:
            bare = len(head(server, "/x", "GET", "1.0", "X: "))
            sent = head(server, "/x", "GET", "1.0", "X: " + "a" * (size - bare))
            assert len(sent) == size
            return await exchange(server, sent)

    assert statuses(run(case())) == [status]


def test_an_endless_head_is_refused_while_it_is_sent(run):
    """A client that goes on sending can read its 431."""

    async def case():
        async with echoing() as server:
            return await exchange(server, b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000)

    assert statuses(run(case())) == [431]


def test_a_refused_client_that_never_stops_is_aborted(run):
    """Input after a refusal is dropped, and only a limited amount is read."""

    async def case():
        async with echoing(limits=Limits(linger_seconds=TIMEOUT)) as server:
            _, writer = await asyncio.open_connection(server.host, server.port)
            try:
                for _ in range(10_000):
                    writer.write(b"a" * 10_000)
                    await writer.drain()
            except ConnectionError:
                return True
            finally:
                await close(writer)
        return False

    assert run(case())


@pytest.mark.parametrize(("more", "status"), [(63, 200), (64, 431)])
def test_a_head_has_at_most_64_headers(run, more, status):
    """Host and 63 others are accepted, one more is not."""

    async def case():
        async with echoing() as server:
            fields = [f"X-{number}: y" for number in range(more)]
            return await exchange(server, head(server, "/x", "GET", "1.0", *fields))

    assert statuses(run(case())) == [status]


# --- deadlines and limits -----------------------------------------------------------------------


def test_a_slow_head_has_a_deadline(run):
    """A client that sends slowly does not move the deadline of its head."""

    async def case():
        async with echoing(limits=Limits(head_seconds=0.2)) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"GET / HTTP/1.1\r\n")
            ended = asyncio.create_task(read_all(reader))
            while not ended.done():
                writer.write(b"X: y\r\n")
                await asyncio.wait([ended], timeout=0.02)
            await close(writer)
            return ended.result()

    assert statuses(run(case())) == [408]


def test_a_silent_connection_is_closed_without_an_answer(run):
    """A new one after `head_seconds`, an idle one after `idle_seconds`."""

    async def case():
        async with echoing(limits=Limits(head_seconds=0.2)) as server:
            silent = await exchange(server, b"")
        async with echoing(limits=Limits(idle_seconds=0.1)) as server:
            idle = await exchange(server, head(server))
        return silent, idle

    silent, idle = run(case())
    assert silent == b""
    assert statuses(idle) == [200]


@pytest.mark.alone
def test_an_active_connection_stays_open(run):
    """The deadlines are for connections without requests."""

    async def case():
        async with echoing(limits=Limits(head_seconds=1.2, idle_seconds=1.2)) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            loop = asyncio.get_running_loop()
            until = loop.time() + 2.4
            while loop.time() < until:
                writer.write(head(server))
                assert (await read_one(reader))[0] == 200
                with pytest.raises(TimeoutError):  # it is not closed meanwhile
                    await asyncio.wait_for(reader.read(1), 0.02)
            await close(writer)

    run(case())


def test_idle_connections_make_room_for_new_ones(run):
    """At the limit, the one that is idle for the longest time is closed."""

    async def case():
        limits = Limits(connections=200, grace_seconds=0)
        async with echoing(limits=limits) as server:
            held = [await asyncio.open_connection(server.host, server.port) for _ in range(200)]
            for reader, writer in held[1:]:
                writer.write(head(server))
                await read_one(reader)
            for _ in range(5):
                assert statuses(await exchange(server, head(server, "/x", "GET", "1.0"))) == [200]
            assert await read_all(held[0][0]) == b""
            held[-1][1].write(head(server))
            assert (await read_one(held[-1][0]))[0] == 200
            for _, writer in held:
                await close(writer)

    run(case())


def test_a_connection_above_the_limit_gets_503(run):
    """At once, if all others are new."""

    async def case():
        limits = Limits(connections=2, grace_seconds=TIMEOUT)
        async with echoing(limits=limits) as server:
            held = [await asyncio.open_connection(server.host, server.port) for _ in range(2)]
            received = await exchange(server, b"")
            held[0][1].write(head(server))
            assert (await read_one(held[0][0]))[0] == 200
            for _, writer in held:
                await close(writer)
            return received

    assert statuses(run(case())) == [503]


def test_a_client_that_reads_slowly_is_read_slowly(run):
    """Its answers wait in a limited buffer; its next requests wait unread, and are not lost."""

    async def case():
        async with echoing() as server:
            reader, writer = await asyncio.open_connection(server.host, server.port, limit=2**16)
            sent = head(server, "/large") * 40 + head(server, "/end", "GET", "1.0")
            writer.write(sent)
            await exchange(
                server, head(server, "/x", "GET", "1.0")
            )  # others are answered meanwhile
            answered = len(server.requests)
            received = await read_all(reader)
            await close(writer)
            return answered, len(received), received[-8:]

    answered, size, end = run(case())
    assert answered < 20
    assert size > 40_000_000
    assert end == b"GET /end"


def test_a_client_that_never_reads_is_aborted(run):
    """It stays no longer than an idle client."""

    async def case():
        async with echoing(limits=Limits(idle_seconds=0.2)) as server:
            _, writer = await asyncio.open_connection(server.host, server.port, limit=1)
            writer.write(head(server, "/large") * 100)
            cut = asyncio.ensure_future(writer.wait_closed())
            while not cut.done():  # to notice the reset without reading
                writer.write(b"x")
                await asyncio.wait([cut], timeout=0.01)
            assert isinstance(cut.exception(), OSError | None)

    run(case())


@pytest.mark.alone
def test_the_end_of_the_listener_ends_every_connection(run):
    """Connections that are idle, or that have half a request or unread answers, end at once."""

    async def case():
        loop = asyncio.get_running_loop()
        async with echoing() as server:
            sent = [b"", b"GET /", head(server), head(server, "/large") * 100, b"nonsense\r\n\r\n"]
            held = []
            for data in sent * 10:
                reader, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(data)
                held.append((reader, writer))
            await exchange(server, head(server, "/x", "GET", "1.0"))
            began = loop.time()
        took = loop.time() - began
        for reader, writer in held:
            await read_all(reader)
            await close(writer)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(server.host, server.port)
        return took

    assert run(case()) < 2.0


def test_a_taken_address_is_an_oserror(run):
    """So the caller can name the setting."""

    async def case():
        async with echoing() as server:
            with pytest.raises(OSError, match="address"):
                async with http_server.listening(server.host, server.port, lambda _: Answer(200)):
                    pass

    run(case())


# --- fuzz ---------------------------------------------------------------------------------------

PIECES = [
    *(b"GET", b"PUT", b"POST", b"HEAD", b"CONNECT", b"PRI", b"M-SEARCH", b"get"),
    *(b" ", b"  ", b"\t", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b":", b": ", b",", b";"),
    *(b"/", b"/x", b"//", b"*", b"http://", b"/%00", b"/..", b"?", b"#", b"\xff", b"\xc3\xa9"),
    *(b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b" RTSP/1.0", b"HTTP/1.1"),
    *(b"Host", b"host: ", b"%h", b"Host: %h\r\n", b"Connection: close\r\n", b"Connection: Upgrade"),
    *(
        b"Content-Length: 0\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length:",
        b"Expect: 100-continue",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Upgrade: h2c\r\n"),
    *(
        b"X-Forwarded-For: a\r\n",
        b"Via: b\r\n",
        b"Forwarded: c\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
    ),
    b"a" * 5000,
    b"X: y\r\n" * 70,
]


def mutated(random: random.Random, name: bytes) -> bytes:
    """Return one to three requests with a few errors, or random bytes."""
    if random.random() < 0.2:
        return random.randbytes(random.randrange(200)) + b"\r\n\r\n"
    one = b"GET /x HTTP/1.1\r\nHost: %h\r\nAccept: */*\r\n\r\n"
    sent = bytearray(one * random.randrange(1, 4))
    for _ in range(random.randrange(5)):
        at = random.randrange(len(sent))
        piece = random.choice(PIECES)
        sent[at : at + random.choice([0, 0, 1, len(piece)])] = piece
    return bytes(sent).replace(b"%h", name)


@pytest.mark.parametrize("seed", range(4))
def test_no_malformed_request_is_accepted(run, seed):
    """Of thousands of malformed requests, only those that are valid by accident reach `answer`."""
    rng = random.Random(seed)  # noqa: S311 -- must repeat

    async def one(server):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        sent = mutated(rng, server.name.encode())
        cut = rng.randrange(len(sent))
        writer.write(sent[:cut])
        await asyncio.sleep(0)
        writer.write(sent[cut:])
        writer.write_eof()
        received = await read_all(reader)
        await close(writer)
        assert not received or received.startswith(b"HTTP/1.1 "), sent
        return sent, statuses(received)

    async def case():
        async with echoing(limits=Limits(linger_seconds=0.1)) as server:
            for _ in range(2000):
                before = len(server.requests)
                sent, answered = await one(server)
                for request in server.requests[before:]:
                    assert request.target.startswith("/"), sent
                    assert request.headers["host"] in (server.name, f"localhost:{server.port}"), (
                        sent
                    )
                    forbidden = {"transfer-encoding", "via", "forwarded", "x-forwarded-for"}
                    assert not forbidden & request.headers.keys(), sent
                    assert not request.headers.get("content-length", "0").strip("0"), sent
                assert len(server.requests) - before == answered.count(200), sent
                assert not set(answered[:-1]) - {200}, sent
            assert statuses(await exchange(server, head(server, "/x", "GET", "1.0"))) == [200]

    run(case())
