"""The proxy rewrites create requests, and passes everything else on unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket

import pytest

from sidecar import host
from sidecar.docker import connection, spliced_socket
from tests.support.loops import on_both, run
from tests.support.servers import serving
from tests.unit.docker.fakes import (
    CREATED,
    ID,
    answer_all,
    chunked,
    hijack,
    post,
    read_body,
    read_request,
    read_variables,
    response,
    start_stage,
    wait_until_empty,
    write_and_drain,
)

pytestmark = on_both

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
CREATE = "/v1.41/containers/create"
BODY = b'{"Image":"base","Env":["A=1"],"Unknown":{"x":[1.5,null]}}'


# --- answers of the policy ----------------------------------------------------------------------


class AnsweringPolicy:
    """A policy that answers what it checks."""

    def __init__(self, policy) -> None:
        self.body_limit = policy.body_limit
        self.allow_http2 = policy.allow_http2

    async def check(self, _request, _body):
        """Answer."""
        raise connection.RequestAnswered(201, {"Id": "x"})


def test_a_request_that_the_policy_answers_does_not_reach_the_engine(loop, tmp_path):
    """The next request of the connection does."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            stage.proxy.policy = AnsweringPolicy(stage.proxy.policy)
            answered = await stage.send(post(CREATE, BODY), post("/_ping", b"pong"))
            assert answered.startswith(b"HTTP/1.1 201 Created\r\n")
            assert b'{"Id":"x"}' in answered
            assert answered.endswith(response(200, b"pong"))
            assert CREATE.encode() not in stage.received[0]

    run(loop, scenario())


# --- creates ------------------------------------------------------------------------------------


def test_a_container_gets_all_variables(loop, tmp_path):
    """Its own path, the region twice, and no instance metadata; its other fields stay."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            assert await stage.send(post(CREATE, BODY)) == response(201, CREATED)
            assert read_body(stage.received[0])["Unknown"] == {"x": [1.5, None]}
            assert read_variables(stage.received[0]) == {
                "A": "1",
                URI: "/v2/credentials/1",
                "AWS_REGION": "eu-central-1",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            assert stage.paths.assigned == [("/v2/credentials/1", ID)]

    run(loop, scenario())


@pytest.mark.parametrize(
    "target",
    [
        "/containers/create",
        "/v1.47/containers/create?name=x",
        "http://docker/v1.41/containers/create",
        "/v1.41/containers/%63reate",
        "//v1.41//containers/./create",
    ],
)
def test_every_spelling_of_a_create_request_is_rewritten(loop, tmp_path, target):
    """The engine accepts these spellings as a create request, so the proxy must too."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            await stage.send(post(target, BODY))
            assert URI in read_variables(stage.received[0])

    run(loop, scenario())


def test_a_chunked_create_request_gets_a_content_length(loop, tmp_path):
    """A client that waits for 100 Continue gets it."""
    head = b"POST %s HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n" % CREATE.encode()

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            reader, writer = await stage.connect()
            writer.write(head + b"Expect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(chunked(BODY[:10], BODY[10:11], BODY[11:]))
            assert await reader.readuntil(CREATED)
            received = stage.received[0]
            assert b"chunked" not in received
            assert b"Expect" not in received
            assert URI in read_variables(received)
            writer.close()

    run(loop, scenario())


def test_the_second_request_of_a_connection_is_rewritten_too(loop, tmp_path):
    """It is rewritten if requests come one after the other, all at once, or byte by byte."""
    requests = post("/_ping"), post(CREATE, BODY), post("/x", b"POST /"), post(CREATE, BODY)

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            for sent in (b"".join(requests),), [bytes([one]) for one in b"".join(requests)]:
                reader, writer = await stage.connect()
                for piece in sent:
                    writer.write(piece)
                    await writer.drain()
                reply = b"".join([await reader.readuntil(CREATED), await reader.readuntil(CREATED)])
                assert reply == b"".join(
                    (
                        response(200),
                        response(201, CREATED),
                        response(200, b"POST /"),
                        response(201, CREATED),
                    )
                )
                assert stage.received[-1].count(URI.encode()) == 2
                writer.close()
            assert len(stage.paths.assigned) == 4

    run(loop, scenario())


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_refused_create_request_leaves_no_path(loop, tmp_path, status):
    """The client gets the engine's response, and the path is revoked."""

    async def refuse(reader, writer):
        await read_request(reader)
        writer.write(response(status, b'{"message":"no"}'))

    async def scenario():
        async with start_stage(tmp_path, refuse) as stage:
            assert await stage.send(post(CREATE, BODY)) == response(status, b'{"message":"no"}')
            assert stage.paths.revoked == stage.paths.minted
            assert stage.paths.minted

    run(loop, scenario())


def test_a_create_request_without_a_response_leaves_no_path(loop, tmp_path):
    """The client sees the connection end, as it would without the proxy."""

    async def close_early(reader, writer):
        await read_request(reader)

    async def scenario():
        async with start_stage(tmp_path, close_early) as stage:
            assert await stage.send(post(CREATE, BODY)) == b""
            assert stage.paths.revoked == stage.paths.minted
            assert stage.paths.minted

    run(loop, scenario())


def test_a_container_with_its_own_credentials_is_unchanged(loop, tmp_path):
    """The credentials may be in its own variables, or in those of its image."""
    asked = b'{"Image":"own",  "Env": ["AWS_ACCESS_KEY_ID=x"]}'

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            stage.images["own"] = ["AWS_ACCESS_KEY_ID=x"]
            for body in (asked, b'{"Image":"own" }'):
                sent = post(CREATE, body, b"X-Meta: a")
                await stage.send(sent)
                assert stage.received[-1] == sent
            assert stage.paths.minted == []

    run(loop, scenario())


def test_a_bind_of_the_engine_socket_gets_the_proxy_socket(loop, tmp_path):
    """The bind is found by whatever path names the engine's socket."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            raw = f"{stage.engine}:/var/run/docker.sock:rw"
            body = {"Env": [], "HostConfig": {"Binds": [raw, "/var/run/docker.sock:/d", "v:/v"]}}
            await stage.send(post(CREATE, json.dumps(body).encode()))
            assert read_body(stage.received[0])["HostConfig"]["Binds"] == [
                f"{stage.path}:/var/run/docker.sock:rw",
                f"{stage.path}:/d",
                "v:/v",
            ]

    run(loop, scenario())


def test_a_body_that_is_too_large_is_refused(loop, tmp_path):
    """The client gets an error in the engine's form; the engine receives nothing."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            reader, writer = await stage.connect()
            writer.write(b"POST %s HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" % CREATE.encode())
            writer.write(b" " * ((4 << 20) + 1))
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
            reply = await reader.read()
            assert json.loads(reply.rpartition(b"\r\n\r\n")[2])["message"]
            assert stage.received == []
            writer.close()

    run(loop, scenario())


# --- what passes unchanged ----------------------------------------------------------------------


@pytest.mark.parametrize("headers", [(b"Connection: Upgrade", b"Upgrade: tcp"), ()])
def test_a_hijacked_connection_passes_data_and_half_close(loop, tmp_path, headers):
    """Upgraded, or as older clients do without; a create request in the stream is data."""

    async def scenario():
        async with start_stage(tmp_path, hijack) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/containers/x/attach?stdin=1", b"", *headers))
            assert (await reader.readuntil(b"\r\n\r\n")).split()[1] in (b"101", b"200")
            sent = post(CREATE, BODY) + os.urandom(3 << 20)
            reading = asyncio.create_task(reader.readexactly(len(sent)))
            for at in range(0, len(sent), 100_000):
                writer.write(sent[at : at + 100_000])
                await writer.drain()
            assert await reading == sent
            writer.write_eof()
            assert await reader.read() == b"end"
            assert stage.paths.minted == []
            writer.close()

    run(loop, scenario())


def test_a_slow_reader_gets_all_data_in_order(loop, tmp_path):
    """The other side waits, and no data overtakes data that waits."""
    sent = os.urandom(4 << 20)

    async def write_all(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n" + sent[:1000])
        for at in range(1000, len(sent), 200_000):
            writer.write(sent[at : at + 200_000])
            await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"done"

    async def scenario():
        async with start_stage(tmp_path, write_all) as stage:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(stage.path))
            client.setblocking(False)
            here = asyncio.get_running_loop()
            await here.sock_sendall(client, post("/exec/x/start", b"", b"Upgrade: tcp"))
            reply = b""
            while piece := await here.sock_recv(client, 30_000):
                reply += piece
                await asyncio.sleep(0)
            assert reply == b"HTTP/1.1 101 UPGRADED\r\n\r\n" + sent
            await here.sock_sendall(client, b"done")
            client.close()
            await wait_until_empty(stage.proxy)

    run(loop, scenario())


def test_data_before_a_hijack_is_not_lost(loop, tmp_path):
    """A client may send stream data before the engine has answered."""

    async def scenario():
        async with start_stage(tmp_path, hijack) as stage:
            reply = await stage.send(post("/exec/x/start", b"{}", b"Upgrade: tcp") + b"typed ahead")
            assert reply == b"HTTP/1.1 101 UPGRADED\r\n\r\ntyped aheadend"

    run(loop, scenario())


def test_http_2_without_upgrade_passes(loop, tmp_path):
    """Newer clients use gRPC without an upgrade."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(100_000)

    async def echo(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def scenario():
        async with start_stage(tmp_path, echo) as stage:
            assert await stage.send(preface) == preface

    run(loop, scenario())


def test_long_bodies_pass_both_ways(loop, tmp_path):
    """With a length and in chunks; the response may begin before the request has ended."""
    big = os.urandom(5 << 20)

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            reader, writer = await stage.connect()
            head = b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            for sent in (post("/images/load", big), head + chunked(*[big[:32768]] * 50)):
                writing = asyncio.create_task(write_and_drain(writer, sent))
                expected = big if sent[:10] == b"POST /imag" else big[:32768] * 50
                reply = await reader.readexactly(len(response(200, expected)))
                assert reply == response(200, expected)
                await writing
            writer.close()

    run(loop, scenario())


def test_a_chunked_response_is_followed_to_its_end(loop, tmp_path):
    """Interim responses and trailers are followed too, so that the next request is found."""

    async def stream(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        writer.write(chunked(b"a" * 70_000, b"b")[:-2] + b"X-Trailer: 1\r\n\r\n")
        await answer_all(reader, writer)

    async def scenario():
        async with start_stage(tmp_path, stream) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/events") + post(CREATE, BODY))
            reply = await reader.readuntil(CREATED)
            assert b"X-Trailer: 1\r\n\r\nHTTP/1.1 201 X" in reply
            assert URI in read_variables(stage.received[0])
            writer.close()

    run(loop, scenario())


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_ends_with_its_head(loop, tmp_path, status):
    """So does the response to HEAD: its length is that of a body that is not sent."""

    async def without_body(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await read_request(reader)
        writer.write(b"HTTP/1.1 %d X\r\n\r\n" % status)
        await answer_all(reader, writer)

    async def scenario():
        async with start_stage(tmp_path, without_body) as stage:
            reader, writer = await stage.connect()
            writer.write(b"HEAD /_ping HTTP/1.1\r\n\r\n" + post("/x") + post(CREATE, BODY))
            await reader.readuntil(CREATED)
            assert URI in read_variables(stage.received[0])
            writer.close()

    run(loop, scenario())


def test_the_request_after_an_early_response_is_rewritten(loop, tmp_path):
    """An engine may refuse an upload that is still coming."""

    async def answer_early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(409))
        await writer.drain()
        await reader.readexactly(100_000)
        await answer_all(reader, writer)

    async def scenario():
        async with start_stage(tmp_path, answer_early) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/images/load", bytes(100_000))[:-90_000])
            assert await reader.readuntil(b"\r\n\r\n") == response(409)
            writer.write(bytes(90_000) + post(CREATE, BODY))
            await reader.readuntil(CREATED)
            assert URI in read_variables(stage.received[0])
            writer.close()

    run(loop, scenario())


# --- what is refused ----------------------------------------------------------------------------

BOTH = b"POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (BOTH, 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST /x HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET /x HTTP/3.0\r\n\r\n", 505),
        (b"nonsense\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_ambiguous_requests_are_refused(loop, tmp_path, sent, status):
    """The client gets an error in the engine's form, and the engine receives nothing."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            reader, writer = await stage.connect()
            writer.write(sent)
            reply = await reader.read()
            writer.close()
            assert reply.startswith(b"HTTP/1.1 %d " % status)
            assert json.loads(reply.rpartition(b"\r\n\r\n")[2])["message"]
            assert stage.received == []
            assert (await stage.send(post("/_ping"))).startswith(b"HTTP/1.1 200 ")

    run(loop, scenario())


def test_nothing_after_a_broken_chunk_reaches_the_engine(loop, tmp_path):
    """The engine never receives what follows."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            head = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            reply = await stage.send(head + b"2\r\nab\r\n", b"zz\r\n" + post(CREATE, BODY))
            assert reply.startswith(b"HTTP/1.1 400 ")
            assert b"create" not in b"".join(stage.received)

    run(loop, scenario())


# --- connections that come and go ---------------------------------------------------------------


def test_requests_get_503_while_the_engine_is_away(loop, tmp_path):
    """Each request gets a 503, until the engine is back."""

    async def scenario():
        async with start_stage(tmp_path, answer_all, engine_listens=False) as stage:
            for sent in (post("/_ping"), post(CREATE, BODY)) * 3:
                reply = await stage.send(sent)
                assert reply.startswith(b"HTTP/1.1 503 ")
                body = json.loads(reply.rpartition(b"\r\n\r\n")[2])
                assert str(stage.engine) in body["message"]
            assert stage.paths.revoked == stage.paths.minted
            stage.engine.unlink(missing_ok=True)
            async with serving(answer_all, stage.engine):
                assert (await stage.send(post("/_ping"))).startswith(b"HTTP/1.1 200 ")
            await wait_until_empty(stage.proxy)

    run(loop, scenario())


def test_a_closed_client_closes_the_engine_connection(loop, tmp_path):
    """When a client closes in the middle of a stream, the engine's connection is closed too."""
    client_lost = asyncio.Event()

    async def never_end(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await reader.read()
        client_lost.set()

    async def scenario():
        async with start_stage(tmp_path, never_end) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/events"))
            await reader.readuntil(b"a\r\n")
            writer.close()
            await wait_until_empty(stage.proxy)
            await client_lost.wait()

    run(loop, scenario())


def test_the_container_of_a_client_that_was_killed_is_known(loop, tmp_path):
    """The engine creates it all the same: its answer is awaited, and then nothing is open."""

    async def scenario():
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def answer_late(reader, writer):
            await read_request(reader)
            asked.set()
            await go_on.wait()
            await write_and_drain(writer, response(201, CREATED))
            await reader.read()

        async with start_stage(tmp_path, answer_late) as stage:
            _, writer = await stage.connect()
            writer.write(post(CREATE, BODY))
            await asked.wait()
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0)
            assert stage.paths.revoked == []
            go_on.set()
            await wait_until_empty(stage.proxy)
            assert stage.paths.assigned == [("/v2/credentials/1", ID)]

    run(loop, scenario())


def test_an_answer_that_never_comes_is_not_awaited_for_ever(loop, tmp_path, monkeypatch):
    """Nor when the proxy is closed."""
    monkeypatch.setattr(connection, "ABANDONED", 0.05)

    async def scenario():
        asked, ended = asyncio.Event(), asyncio.Event()

        async def never_answer(reader, writer):
            await read_request(reader)
            asked.set()
            await reader.read()
            ended.set()

        async with start_stage(tmp_path, never_answer) as stage:
            _, writer = await stage.connect()
            writer.write(post(CREATE, BODY))
            await asked.wait()
            writer.close()
            await asyncio.wait_for(ended.wait(), 10)
            await wait_until_empty(stage.proxy)
            assert stage.paths.revoked == ["/v2/credentials/1"]

    run(loop, scenario())


def test_a_refused_client_that_stays_is_cut_off(loop, tmp_path, monkeypatch):
    """A client cannot keep its place by sending data that nobody reads."""
    monkeypatch.setattr(connection, "LINGER", 0.01)

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            reader, writer = await stage.connect()
            writer.write(BOTH)
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            await wait_until_empty(stage.proxy)
            writer.close()

    run(loop, scenario())


def test_an_error_in_the_policy_ends_one_connection(loop, tmp_path):
    """The error is logged, and the other connections go on."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            stage.proxy.policy.read_image_variables = None  # not callable
            assert await stage.send(post(CREATE, BODY)) == b""
            assert (await stage.send(post("/_ping"))).startswith(b"HTTP/1.1 200 ")

    run(loop, scenario())


# --- the proxy's socket -------------------------------------------------------------------------


# --- errors on either side ----------------------------------------------------------------------


def test_the_refusal_of_an_upload_reaches_the_client(loop, tmp_path):
    """The engine reads no more, but its response can still be read."""

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(413, b'{"message":"enough"}'))
        await writer.drain()

    async def scenario():
        async with start_stage(tmp_path, refuse) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/images/load", bytes(8 << 20)))
            assert await reader.readuntil(b'"enough"}') == response(413, b'{"message":"enough"}')
            writer.close()
            await wait_until_empty(stage.proxy)

    run(loop, scenario())


@pytest.mark.parametrize("upgrade", [(), (b"Upgrade: tcp",)])
def test_a_client_that_aborts_a_download_leaves_no_connection(loop, tmp_path, upgrade):
    """The rest is dropped, whether it is copied or spliced."""
    done = asyncio.Event()

    async def write_all(reader, writer):
        head, _ = await read_request(reader)
        status = b"101 X\r\n" if b"Upgrade" in head else b"200 X\r\nContent-Length: 99999999\r\n"
        writer.write(b"HTTP/1.1 " + status + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()
        done.set()

    async def scenario():
        async with start_stage(tmp_path, write_all) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/exec/x/start", b"", *upgrade))
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            await done.wait()
            await wait_until_empty(stage.proxy)

    run(loop, scenario())


@pytest.mark.parametrize("upgrade", [(), (b"Upgrade: tcp",)])
def test_data_of_a_client_that_has_closed_is_delivered(loop, tmp_path, upgrade):
    """It is delivered however slowly the engine reads."""
    much = os.urandom(1 << 20)
    taken = asyncio.Event()

    async def read_slowly(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Upgrade" in head:
            writer.write(b"HTTP/1.1 101 X\r\n\r\n")
        assert await reader.readexactly(len(much)) == much
        taken.set()

    async def scenario():
        async with start_stage(tmp_path, read_slowly) as stage:
            reader, writer = await stage.connect()
            if upgrade:
                writer.write(post("/exec/x/start", b"", *upgrade))
                await reader.readuntil(b"\r\n\r\n")
                writer.write(much)
            else:
                writer.write(post("/images/load", much))
            await writer.drain()
            writer.close()
            await taken.wait()
            await wait_until_empty(stage.proxy)

    run(loop, scenario())


def test_without_splice_data_is_copied(loop, tmp_path, monkeypatch):
    """Some systems have no splice, or no pipe left."""
    monkeypatch.setattr(spliced_socket, "_SPARE_CONDUITS", [])
    monkeypatch.setattr(host, "make_splice_pipe", lambda _: None)
    sent = os.urandom(1 << 20)

    async def scenario():
        async with start_stage(tmp_path, hijack) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/exec/x/start", b"", b"Upgrade: tcp"))
            await reader.readuntil(b"\r\n\r\n")
            writing = asyncio.create_task(write_and_drain(writer, sent))
            assert await reader.readexactly(len(sent)) == sent
            await writing
            writer.write_eof()
            assert await reader.read() == b"end"
            writer.close()

    run(loop, scenario())


@pytest.mark.parametrize(
    "strange",
    [
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nrest",
        b"SSH-2.0-nonsense\r\n\r\nrest",
        b"x" * (2 << 20),
    ],
)
def test_a_malformed_response_passes_unchanged(loop, tmp_path, strange):
    """It is passed on to its end, and nothing after it is read as a request."""

    async def answer_oddly(reader, writer):
        await read_request(reader)
        writer.write(strange)

    async def scenario():
        async with start_stage(tmp_path, answer_oddly) as stage:
            assert await stage.send(post("/x")) == strange
            await stage.send(post(CREATE, BODY))
            assert stage.paths.revoked == stage.paths.minted

    run(loop, scenario())


def test_a_huge_response_to_a_create_request_is_not_kept(loop, tmp_path):
    """A response longer than any id is passed on as it comes, and its path is revoked."""
    long = b'{"Id":"' + b"x" * (3 << 20) + b'"}'

    async def answer_oddly(reader, writer):
        await read_request(reader)
        writer.write(response(201, long))

    async def scenario():
        async with start_stage(tmp_path, answer_oddly) as stage:
            assert await stage.send(post(CREATE, BODY)) == response(201, long)
            assert stage.paths.revoked == stage.paths.minted

    run(loop, scenario())


# --- copies of folders --------------------------------------------------------------------------


class FakeFolderCopy:
    """A fake of the copy of the runner's node."""

    async def provide_copy(self, source):
        """Return a copy of one folder, and fail for another."""
        if source == "/full":
            raise OSError(28, "No space left on device")
        return "/shared/externals" if source == "/runner/externals" else None


def test_a_folder_that_the_engine_cannot_see_is_replaced_by_its_copy(loop, tmp_path):
    """If the copy fails, the client gets an error that names the folder and the setting."""

    async def scenario():
        async with start_stage(tmp_path, answer_all, folder_copy=FakeFolderCopy()) as stage:
            binds = {"HostConfig": {"Binds": ["/runner/externals:/__e:ro", "/usr:/usr"]}}
            await stage.send(post(CREATE, json.dumps(binds).encode()))
            assert read_body(stage.received[0])["HostConfig"]["Binds"] == [
                "/shared/externals:/__e:ro",
                "/usr:/usr",
            ]
            full = json.dumps({"HostConfig": {"Binds": ["/full:/f"]}}).encode()
            reply = await stage.send(post(CREATE, full))
            assert reply.startswith(b"HTTP/1.1 500 ")
            assert b"/full" in reply
            assert b"SIDECAR_SHARED_DIR" in reply

    run(loop, scenario())
