"""The proxy accepts clients within its limits, and closes everything when it ends."""

from __future__ import annotations

import asyncio
import stat

import pytest

from sidecar import host
from sidecar.docker import proxy
from tests.support.loops import on_both, run
from tests.unit.docker.fakes import (
    CREATED,
    answer_all,
    hijack,
    ping,
    post,
    response,
    start_stage,
    wait_until_empty,
)

pytestmark = on_both

CREATE = "/v1.41/containers/create"
BODY = b'{"Image":"base"}'


def test_held_bytes_have_a_limit(loop, tmp_path, monkeypatch):
    """The limit holds for all connections together; released bytes can be held again."""
    monkeypatch.setattr(proxy, "MAX_HELD", 300_000)
    part = b"POST %s HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" % CREATE.encode()

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            for _ in range(2):
                _, writer = await stage.connect()
                writer.write(part + bytes(100_000))
                await writer.drain()
                reader, other = await stage.connect()
                other.write(b"GET /" + b"x" * 250_000)
                assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
                writer.close()
                other.close()
                await wait_until_empty(stage.proxy)
                assert stage.proxy.held == 0
            assert await stage.send(post(CREATE, BODY)) == response(201, CREATED)
            assert stage.proxy.held == 0

    run(loop, scenario())


def test_connections_have_a_limit(loop, tmp_path):
    """A client above the limit waits, and is served when another one leaves."""

    async def scenario():
        async with start_stage(tmp_path, answer_all, limit=2) as stage:
            held = [await stage.connect() for _ in range(2)]
            for reader, writer in held:
                writer.write(post("/_ping"))
                await reader.readuntil(b"\r\n\r\n")
            late = asyncio.create_task(stage.send(post("/late")))
            assert len(stage.proxy.connections) == 2
            held[0][1].close()
            assert (await late).startswith(b"HTTP/1.1 200 ")
            held[1][1].close()
            await wait_until_empty(stage.proxy)

    run(loop, scenario())


def test_closing_the_proxy_closes_all_connections(loop, tmp_path):
    """Connections in the middle of a stream are closed too."""

    async def scenario():
        async with start_stage(tmp_path, hijack) as stage:
            reader, writer = await stage.connect()
            writer.write(post("/exec/x/start", b"", b"Upgrade: tcp"))
            await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        writer.close()

    run(loop, scenario())


def test_only_a_killed_agent_s_socket_is_replaced(loop, tmp_path):
    """A socket in use is left alone, and so is a file that is no socket."""

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            mode = stage.path.stat().st_mode
            assert stat.S_IMODE(mode) == 0o660
            with pytest.raises(OSError, match="in use"):
                host.listen_at(stage.path, None, 1)
        assert stage.path.is_socket()  # a killed agent leaves it like this
        (tmp_path / "engine.sock").unlink(missing_ok=True)
        async with start_stage(tmp_path, answer_all) as again:
            assert (await ping(again.path)).startswith(b"HTTP/1.1 200 ")
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="in use"):
            host.listen_at(tmp_path / "file", None, 1)

    run(loop, scenario())


def test_a_failed_accept_is_tried_again(loop, tmp_path, monkeypatch):
    """A client that waits is served as soon as there is one."""
    monkeypatch.setattr(proxy, "_ACCEPT_PAUSE", 0.01)

    class FailingListener:
        """A listening socket whose first accept fails."""

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

    async def scenario():
        async with start_stage(tmp_path, answer_all) as stage:
            listener = stage.proxy._listener = FailingListener(stage.proxy._listener)
            assert (await stage.send(post("/_ping"))).startswith(b"HTTP/1.1 200 ")
            assert listener.asked > 1

    run(loop, scenario())
