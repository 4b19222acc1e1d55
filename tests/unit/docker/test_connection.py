"""The proxy between real sockets: what it rewrites, and that all else passes as it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat

import pytest

from sidecar import host
from sidecar.docker import connection, proxy, spliced_socket
from tests.support.loops import on_both, run
from tests.unit.docker.fakes import (
    CREATED,
    ID,
    answer,
    chunked,
    obliging,
    pinged,
    post,
    request,
    staged,
)

pytestmark = on_both

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
CREATE = "/v1.41/containers/create"
ASKED = b'{"Image":"base","Env":["A=1"],"Unknown":{"x":[1.5,null]}}'


def told(heard: bytes) -> dict[str, object]:
    """Return the body of the last request that the engine heard."""
    return json.loads(heard.rpartition(b"\r\n\r\n")[2])


def variables(heard: bytes) -> dict[str, str]:
    """Return the variables of the container that the engine was last asked for."""
    return dict(entry.split("=", 1) for entry in told(heard)["Env"])


# --- creates ------------------------------------------------------------------------------------


def test_a_container_gets_the_whole_set(loop, tmp_path):
    """A path that is tied to it, the region twice, and no metadata; what was there stays."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            assert await stage.say(post(CREATE, ASKED)) == answer(201, CREATED)
            assert told(stage.heard[0])["Unknown"] == {"x": [1.5, None]}
            assert variables(stage.heard[0]) == {
                "A": "1",
                URI: "/v2/credentials/1",
                "AWS_REGION": "eu-central-1",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            assert stage.paths.ties == [("/v2/credentials/1", ID)]

    run(loop, play())


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
def test_no_other_way_to_write_it_passes_by(loop, tmp_path, target):
    """The engine would take it for a create; so it is one."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            await stage.say(post(target, ASKED))
            assert URI in variables(stage.heard[0])

    run(loop, play())


def test_a_chunked_body_becomes_one_of_known_length(loop, tmp_path):
    """And the client that waits for a word before it sends the body gets that word."""
    head = b"POST %s HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n" % CREATE.encode()

    async def play():
        async with staged(tmp_path, obliging) as stage:
            reader, writer = await stage.connect()
            writer.write(head + b"Expect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(chunked(ASKED[:10], ASKED[10:11], ASKED[11:]))
            assert await reader.readuntil(CREATED)
            heard = stage.heard[0]
            assert b"chunked" not in heard
            assert b"Expect" not in heard
            assert URI in variables(heard)
            writer.close()

    run(loop, play())


def test_the_second_request_of_a_connection_is_rewritten_too(loop, tmp_path):
    """One after the other, all at once, and byte by byte."""
    requests = post("/_ping"), post(CREATE, ASKED), post("/x", b"POST /"), post(CREATE, ASKED)

    async def play():
        async with staged(tmp_path, obliging) as stage:
            for sent in (b"".join(requests),), [bytes([one]) for one in b"".join(requests)]:
                reader, writer = await stage.connect()
                for piece in sent:
                    writer.write(piece)
                    await writer.drain()
                back = b"".join([await reader.readuntil(CREATED), await reader.readuntil(CREATED)])
                assert back == b"".join(
                    (
                        answer(200),
                        answer(201, CREATED),
                        answer(200, b"POST /"),
                        answer(201, CREATED),
                    )
                )
                assert stage.heard[-1].count(URI.encode()) == 2
                writer.close()
            assert len(stage.paths.ties) == 4

    run(loop, play())


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_container_that_was_not_made_has_no_path(loop, tmp_path, status):
    """The engine's answer is the client's, and the path is ended."""

    async def refusing(reader, writer):
        await request(reader)
        writer.write(answer(status, b'{"message":"no"}'))

    async def play():
        async with staged(tmp_path, refusing) as stage:
            assert await stage.say(post(CREATE, ASKED)) == answer(status, b'{"message":"no"}')
            assert stage.paths.revoked == stage.paths.minted
            assert stage.paths.minted

    run(loop, play())


def test_an_engine_that_dies_over_a_create_leaves_no_path(loop, tmp_path):
    """The client sees the end of the connection, as it would without the proxy."""

    async def dying(reader, writer):
        await request(reader)

    async def play():
        async with staged(tmp_path, dying) as stage:
            assert await stage.say(post(CREATE, ASKED)) == b""
            assert stage.paths.revoked == stage.paths.minted
            assert stage.paths.minted

    run(loop, play())


def test_a_container_with_credentials_of_its_own_passes_to_the_byte(loop, tmp_path):
    """By its own variables, or by those of its image."""
    asked = b'{"Image":"own",  "Env": ["AWS_ACCESS_KEY_ID=x"]}'

    async def play():
        async with staged(tmp_path, obliging) as stage:
            stage.images["own"] = ["AWS_ACCESS_KEY_ID=x"]
            for body in (asked, b'{"Image":"own" }'):
                sent = post(CREATE, body, b"X-Meta: a")
                await stage.say(sent)
                assert stage.heard[-1] == sent
            assert stage.paths.minted == []

    run(loop, play())


def test_the_socket_itself_is_mounted_as_the_proxy_s(loop, tmp_path):
    """By whatever name the container asks for it."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            raw = f"{stage.engine}:/var/run/docker.sock:rw"
            body = {"Env": [], "HostConfig": {"Binds": [raw, "/var/run/docker.sock:/d", "v:/v"]}}
            await stage.say(post(CREATE, json.dumps(body).encode()))
            assert told(stage.heard[0])["HostConfig"]["Binds"] == [
                f"{stage.path}:/var/run/docker.sock:rw",
                f"{stage.path}:/d",
                "v:/v",
            ]

    run(loop, play())


def test_a_body_that_is_too_large_is_refused(loop, tmp_path):
    """With the engine's own form of an error; the engine sees nothing of it."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            reader, writer = await stage.connect()
            writer.write(b"POST %s HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" % CREATE.encode())
            writer.write(b" " * ((4 << 20) + 1))
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
            back = await reader.read()
            assert json.loads(back.rpartition(b"\r\n\r\n")[2])["message"]
            assert stage.heard == []
            writer.close()

    run(loop, play())


def test_all_together_hold_no_more_than_so_much(loop, tmp_path, monkeypatch):
    """However many connections a job has; what is let go may be held again."""
    monkeypatch.setattr(proxy, "MOST_HELD", 300_000)
    part = b"POST %s HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" % CREATE.encode()

    async def play():
        async with staged(tmp_path, obliging) as stage:
            for _ in range(2):
                _, writer = await stage.connect()
                writer.write(part + bytes(100_000))
                await writer.drain()
                reader, other = await stage.connect()
                other.write(b"GET /" + b"x" * 250_000)
                assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
                writer.close()
                other.close()
                await _emptied(stage.proxy)
                assert stage.proxy.held == 0
            assert await stage.say(post(CREATE, ASKED)) == answer(201, CREATED)
            assert stage.proxy.held == 0

    run(loop, play())


# --- what passes --------------------------------------------------------------------------------


async def hijacking(reader, writer):
    """Be an engine that attaches: what comes is sent back, and an end is an end."""
    head, _ = await request(reader)
    upgraded = b"Upgrade" in head
    writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n" if upgraded else b"HTTP/1.1 200 OK\r\n\r\n")
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write(b"end")


@pytest.mark.parametrize("headers", [(b"Connection: Upgrade", b"Upgrade: tcp"), ()])
def test_a_hijacked_connection_is_raw_both_ways_and_half_closed(loop, tmp_path, headers):
    """Upgraded or as older clients ask for it; a create within it is a stream's business."""

    async def play():
        async with staged(tmp_path, hijacking) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/containers/x/attach?stdin=1", b"", *headers))
            assert (await reader.readuntil(b"\r\n\r\n")).split()[1] in (b"101", b"200")
            sent = post(CREATE, ASKED) + os.urandom(3 << 20)
            reading = asyncio.create_task(reader.readexactly(len(sent)))
            for at in range(0, len(sent), 100_000):
                writer.write(sent[at : at + 100_000])
                await writer.drain()
            assert await reading == sent
            writer.write_eof()
            assert await reader.read() == b"end"
            assert stage.paths.minted == []
            writer.close()

    run(loop, play())


def test_who_reads_slowly_gets_all_in_its_order(loop, tmp_path):
    """The other side waits, and nothing overtakes what waits."""
    sent = os.urandom(4 << 20)

    async def pouring(reader, writer):
        await request(reader)
        writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n" + sent[:1000])
        for at in range(1000, len(sent), 200_000):
            writer.write(sent[at : at + 200_000])
            await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"done"

    async def play():
        async with staged(tmp_path, pouring) as stage:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(stage.path))
            client.setblocking(False)
            here = asyncio.get_running_loop()
            await here.sock_sendall(client, post("/exec/x/start", b"", b"Upgrade: tcp"))
            back = b""
            while piece := await here.sock_recv(client, 30_000):
                back += piece
                await asyncio.sleep(0)
            assert back == b"HTTP/1.1 101 UPGRADED\r\n\r\n" + sent
            await here.sock_sendall(client, b"done")
            client.close()
            await _emptied(stage.proxy)

    run(loop, play())


def test_what_came_before_a_hijack_is_not_lost(loop, tmp_path):
    """A client may send on without waiting for the engine's word."""

    async def play():
        async with staged(tmp_path, hijacking) as stage:
            back = await stage.say(post("/exec/x/start", b"{}", b"Upgrade: tcp") + b"typed ahead")
            assert back == b"HTTP/1.1 101 UPGRADED\r\n\r\ntyped aheadend"

    run(loop, play())


def test_http_2_passes_from_its_first_byte(loop, tmp_path):
    """Newer clients speak gRPC to the daemon without asking first."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(100_000)

    async def echoing(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def play():
        async with staged(tmp_path, echoing) as stage:
            assert await stage.say(preface) == preface

    run(loop, play())


def test_long_bodies_pass_both_ways_with_nothing_held(loop, tmp_path):
    """Counted and chunked; the answer may begin before the request has ended."""
    big = os.urandom(5 << 20)

    async def play():
        async with staged(tmp_path, obliging) as stage:
            reader, writer = await stage.connect()
            head = b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            for sent in (post("/images/load", big), head + chunked(*[big[:32768]] * 50)):
                writing = asyncio.create_task(_written(writer, sent))
                expected = big if sent[:10] == b"POST /imag" else big[:32768] * 50
                back = await reader.readexactly(len(answer(200, expected)))
                assert back == answer(200, expected)
                await writing
            writer.close()

    run(loop, play())


async def _written(writer, data):
    writer.write(data)
    await writer.drain()


def test_an_answer_in_chunks_ends_where_it_ends(loop, tmp_path):
    """Interim answers and trailers too: the next request is followed as any other."""

    async def streaming(reader, writer):
        await request(reader)
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
        writer.write(chunked(b"a" * 70_000, b"b")[:-2] + b"X-Trailer: 1\r\n\r\n")
        await obliging(reader, writer)

    async def play():
        async with staged(tmp_path, streaming) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/events") + post(CREATE, ASKED))
            back = await reader.readuntil(CREATED)
            assert b"X-Trailer: 1\r\n\r\nHTTP/1.1 201 X" in back
            assert URI in variables(stage.heard[0])
            writer.close()

    run(loop, play())


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_ends_with_its_head(loop, tmp_path, status):
    """Also the answer to HEAD, whose length is that of a body which is not sent."""

    async def bare(reader, writer):
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await request(reader)
        writer.write(b"HTTP/1.1 %d X\r\n\r\n" % status)
        await obliging(reader, writer)

    async def play():
        async with staged(tmp_path, bare) as stage:
            reader, writer = await stage.connect()
            writer.write(b"HEAD /_ping HTTP/1.1\r\n\r\n" + post("/x") + post(CREATE, ASKED))
            await reader.readuntil(CREATED)
            assert URI in variables(stage.heard[0])
            writer.close()

    run(loop, play())


def test_an_answer_that_comes_early_does_not_lose_the_next_request(loop, tmp_path):
    """An engine may refuse an upload while it goes on."""

    async def hasty(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(409))
        await writer.drain()
        await reader.readexactly(100_000)
        await obliging(reader, writer)

    async def play():
        async with staged(tmp_path, hasty) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/images/load", bytes(100_000))[:-90_000])
            assert await reader.readuntil(b"\r\n\r\n") == answer(409)
            writer.write(bytes(90_000) + post(CREATE, ASKED))
            await reader.readuntil(CREATED)
            assert URI in variables(stage.heard[0])
            writer.close()

    run(loop, play())


# --- what does not ------------------------------------------------------------------------------

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
def test_what_has_two_readings_is_refused(loop, tmp_path, sent, status):
    """In the engine's form, before anything of it reaches the engine; the agent lives on."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            reader, writer = await stage.connect()
            writer.write(sent)
            back = await reader.read()
            writer.close()
            assert back.startswith(b"HTTP/1.1 %d " % status)
            assert json.loads(back.rpartition(b"\r\n\r\n")[2])["message"]
            assert stage.heard == []
            assert (await stage.say(post("/_ping"))).startswith(b"HTTP/1.1 200 ")

    run(loop, play())


def test_a_body_that_loses_its_frame_reaches_no_further(loop, tmp_path):
    """The engine never sees what follows, whatever it would take it for."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            head = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            back = await stage.say(head + b"2\r\nab\r\n", b"zz\r\n" + post(CREATE, ASKED))
            assert back.startswith(b"HTTP/1.1 400 ")
            assert b"create" not in b"".join(stage.heard)

    run(loop, play())


# --- comings and goings -------------------------------------------------------------------------


def test_a_gone_daemon_is_told_in_its_own_form_and_missed_no_longer_than_it_is(loop, tmp_path):
    """503, as often as one asks; and well again when it is back."""

    async def play():
        async with staged(tmp_path, obliging, serve=False) as stage:
            for sent in (post("/_ping"), post(CREATE, ASKED)) * 3:
                back = await stage.say(sent)
                assert back.startswith(b"HTTP/1.1 503 ")
                body = json.loads(back.rpartition(b"\r\n\r\n")[2])
                assert str(stage.engine) in body["message"]
            assert stage.paths.revoked == stage.paths.minted
            stage.engine.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(obliging, stage.engine)
            assert (await stage.say(post("/_ping"))).startswith(b"HTTP/1.1 200 ")
            server.close()
            await _emptied(stage.proxy)

    run(loop, play())


async def _emptied(serving: proxy.Proxy) -> None:
    """Wait until the proxy has no connection any more."""
    while serving.connections:
        gone = asyncio.get_running_loop().create_future()
        forget = serving.forget

        def forgotten(known, gone=gone, forget=forget):
            forget(known)
            if not gone.done():
                gone.set_result(None)

        serving.forget = forgotten
        await asyncio.wait_for(gone, 10)
        serving.forget = forget


def test_whoever_goes_takes_the_other_along(loop, tmp_path):
    """A client that is closed in the middle of a stream is one that the engine loses, too."""
    lost = asyncio.Event()

    async def endless(reader, writer):
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await reader.read()
        lost.set()

    async def play():
        async with staged(tmp_path, endless) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/events"))
            await reader.readuntil(b"a\r\n")
            writer.close()
            await _emptied(stage.proxy)
            await lost.wait()

    run(loop, play())


def test_no_more_than_so_many_at_a_time(loop, tmp_path):
    """Who comes when all places are taken waits for one, and is served then."""

    async def play():
        async with staged(tmp_path, obliging, limit=2) as stage:
            held = [await stage.connect() for _ in range(2)]
            for reader, writer in held:
                writer.write(post("/_ping"))
                await reader.readuntil(b"\r\n\r\n")
            late = asyncio.create_task(stage.say(post("/late")))
            assert len(stage.proxy.connections) == 2
            held[0][1].close()
            assert (await late).startswith(b"HTTP/1.1 200 ")
            held[1][1].close()
            await _emptied(stage.proxy)

    run(loop, play())


def test_a_refused_client_that_never_goes_is_cut_off(loop, tmp_path, monkeypatch):
    """Nobody holds a place by sending what nobody reads."""
    monkeypatch.setattr(connection, "LINGER", 0.01)

    async def play():
        async with staged(tmp_path, obliging) as stage:
            reader, writer = await stage.connect()
            writer.write(BOTH)
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            await _emptied(stage.proxy)
            writer.close()

    run(loop, play())


def test_a_failure_of_the_agent_s_own_ends_one_connection(loop, tmp_path):
    """It is told, and the others go on."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            stage.proxy.policy.image_variables = None  # not callable
            assert await stage.say(post(CREATE, ASKED)) == b""
            assert (await stage.say(post("/_ping"))).startswith(b"HTTP/1.1 200 ")

    run(loop, play())


def test_on_leaving_every_connection_is_ended(loop, tmp_path):
    """Those in the middle of something, too."""

    async def play():
        async with staged(tmp_path, hijacking) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/exec/x/start", b"", b"Upgrade: tcp"))
            await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        writer.close()

    run(loop, play())


# --- where it listens ---------------------------------------------------------------------------


def test_a_dead_predecessor_s_socket_is_replaced_and_nobody_else_s(loop, tmp_path):
    """What listens is left alone, and so is what is no socket."""

    async def play():
        async with staged(tmp_path, obliging) as stage:
            mode = stage.path.stat().st_mode
            assert stat.S_IMODE(mode) == 0o660
            with pytest.raises(OSError, match="in use"):
                host.listener(stage.path, None, 1)
        assert stage.path.is_socket()  # as one that was killed leaves it
        (tmp_path / "engine.sock").unlink(missing_ok=True)
        async with staged(tmp_path, obliging) as again:
            assert (await pinged(again.path)).startswith(b"HTTP/1.1 200 ")
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="in use"):
            host.listener(tmp_path / "file", None, 1)

    run(loop, play())


# --- what goes wrong on either side -------------------------------------------------------------


def test_an_engine_that_says_no_in_the_middle_of_an_upload_is_heard(loop, tmp_path):
    """It takes nothing any more, but its answer is there to be read."""

    async def refusing(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, b'{"message":"enough"}'))
        await writer.drain()

    async def play():
        async with staged(tmp_path, refusing) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/images/load", bytes(8 << 20)))
            assert await reader.readuntil(b'"enough"}') == answer(413, b'{"message":"enough"}')
            writer.close()
            await _emptied(stage.proxy)

    run(loop, play())


@pytest.mark.parametrize("upgrade", [(), (b"Upgrade: tcp",)])
def test_a_client_that_goes_with_much_on_its_way_leaves_nothing(loop, tmp_path, upgrade):
    """Passed on by hand or by the kernel: what nobody takes is dropped."""
    gone = asyncio.Event()

    async def pouring(reader, writer):
        head, _ = await request(reader)
        status = b"101 X\r\n" if b"Upgrade" in head else b"200 X\r\nContent-Length: 99999999\r\n"
        writer.write(b"HTTP/1.1 " + status + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()
        gone.set()

    async def play():
        async with staged(tmp_path, pouring) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/exec/x/start", b"", *upgrade))
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
            await gone.wait()
            await _emptied(stage.proxy)

    run(loop, play())


@pytest.mark.parametrize("upgrade", [(), (b"Upgrade: tcp",)])
def test_what_a_client_sent_before_it_went_is_delivered(loop, tmp_path, upgrade):
    """However slowly the engine takes it."""
    much = os.urandom(1 << 20)
    taken = asyncio.Event()

    async def slow(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"Upgrade" in head:
            writer.write(b"HTTP/1.1 101 X\r\n\r\n")
        assert await reader.readexactly(len(much)) == much
        taken.set()

    async def play():
        async with staged(tmp_path, slow) as stage:
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
            await _emptied(stage.proxy)

    run(loop, play())


def test_without_splice_bytes_go_by_hand(loop, tmp_path, monkeypatch):
    """Where the system has none, or no pipe to give."""
    monkeypatch.setattr(spliced_socket, "_SPARE", [])
    monkeypatch.setattr(host, "conduit", lambda _: None)
    sent = os.urandom(1 << 20)

    async def play():
        async with staged(tmp_path, hijacking) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/exec/x/start", b"", b"Upgrade: tcp"))
            await reader.readuntil(b"\r\n\r\n")
            writing = asyncio.create_task(_written(writer, sent))
            assert await reader.readexactly(len(sent)) == sent
            await writing
            writer.write_eof()
            assert await reader.read() == b"end"
            writer.close()

    run(loop, play())


@pytest.mark.parametrize(
    "strange",
    [
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nrest",
        b"SSH-2.0-nonsense\r\n\r\nrest",
        b"x" * (2 << 20),
    ],
)
def test_a_strange_answer_is_the_client_s_to_judge(loop, tmp_path, strange):
    """It is passed on to its end, and no further request is read out of what follows."""

    async def odd(reader, writer):
        await request(reader)
        writer.write(strange)

    async def play():
        async with staged(tmp_path, odd) as stage:
            assert await stage.say(post("/x")) == strange
            await stage.say(post(CREATE, ASKED))
            assert stage.paths.revoked == stage.paths.minted

    run(loop, play())


def test_an_answer_to_a_create_that_never_ends_is_not_held_for_ever(loop, tmp_path):
    """Nor believed: what is longer than any id is passed on as it comes."""
    long = b'{"Id":"' + b"x" * (3 << 20) + b'"}'

    async def odd(reader, writer):
        await request(reader)
        writer.write(answer(201, long))

    async def play():
        async with staged(tmp_path, odd) as stage:
            assert await stage.say(post(CREATE, ASKED)) == answer(201, long)
            assert stage.paths.revoked == stage.paths.minted

    run(loop, play())


def test_a_system_without_sockets_to_give_is_asked_again(loop, tmp_path, monkeypatch):
    """Who waits is served when there are some."""
    monkeypatch.setattr(proxy, "_PAUSE", 0.01)

    class Poor:
        """A listener that has none, the first time."""

        def __init__(self, listener):
            self.listener = listener
            self.asked = 0

        def __getattr__(self, name):
            return getattr(self.listener, name)

        def accept(self):
            self.asked += 1
            if self.asked == 1:
                raise OSError(24, "Too many open files")
            return self.listener.accept()

    async def play():
        async with staged(tmp_path, obliging) as stage:
            poor = stage.proxy._listener = Poor(stage.proxy._listener)
            assert (await stage.say(post("/_ping"))).startswith(b"HTTP/1.1 200 ")
            assert poor.asked > 1

    run(loop, play())


# --- copies -------------------------------------------------------------------------------------


class FolderCopies:
    """Stands for what copies the runner's node."""

    async def turned(self, source):
        """Copy one folder, and fail for another."""
        if source == "/full":
            raise OSError(28, "No space left on device")
        return "/shared/externals" if source == "/runner/externals" else None


def test_a_folder_that_the_daemon_cannot_see_is_mounted_as_its_copy(loop, tmp_path):
    """And where there can be none, the client is told which, and what to look at."""

    async def play():
        async with staged(tmp_path, obliging, copies=FolderCopies()) as stage:
            binds = {"HostConfig": {"Binds": ["/runner/externals:/__e:ro", "/usr:/usr"]}}
            await stage.say(post(CREATE, json.dumps(binds).encode()))
            assert told(stage.heard[0])["HostConfig"]["Binds"] == [
                "/shared/externals:/__e:ro",
                "/usr:/usr",
            ]
            full = json.dumps({"HostConfig": {"Binds": ["/full:/f"]}}).encode()
            back = await stage.say(post(CREATE, full))
            assert back.startswith(b"HTTP/1.1 500 ")
            assert b"/full" in back
            assert b"SIDECAR_SHARED_DIR" in back

    run(loop, play())
