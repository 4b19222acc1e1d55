"""A spliced socket passes data on, keeps what is not taken, and reports ends and failures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from sidecar import host
from sidecar.docker import spliced_socket
from sidecar.docker.spliced_socket import SplicedSocket
from tests.support.loops import on_both, run

pytestmark = on_both


class RecordingOwner:
    """Records the calls of a socket."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.calls: list[str] = []
        self.called = asyncio.Event()

    def on_data(self, _: SplicedSocket, data: memoryview) -> None:
        """Record data."""
        self.data += data
        self._record("data")

    def on_end(self, _: SplicedSocket, *, peer_closed: bool) -> None:
        """Record the end of data."""
        self._record("closed" if peer_closed else "end")

    def on_full(self, _: SplicedSocket) -> None:
        """Record that the socket takes no more."""
        self._record("full")

    def on_drained(self, _: SplicedSocket) -> None:
        """Record that all is written."""
        self._record("drained")

    def on_lost(self, _: SplicedSocket) -> None:
        """Record a failed write."""
        self._record("lost")

    def _record(self, call: str) -> None:
        self.calls.append(call)
        self.called.set()

    async def wait_for(self, call: str) -> None:
        """Wait until that call was made."""
        while call not in self.calls:
            self.called.clear()
            await self.called.wait()


@contextlib.contextmanager
def connected():
    """Yield an owner, its socket, and the peer of that."""
    ours, peer = socket.socketpair()
    owner = RecordingOwner()
    for sock in (ours, peer):
        sock.setblocking(False)
    spliced = SplicedSocket(asyncio.get_running_loop(), ours, owner)
    with peer:
        yield owner, spliced, peer
        spliced.close()


async def read_all(sock: socket.socket) -> bytes:
    """Read until the end of data."""
    data = b""
    while piece := await asyncio.get_running_loop().sock_recv(sock, 65536):
        data += piece
    return data


def test_data_and_its_end_are_reported(loop):
    """The peer has half-closed, and still gets an answer."""

    async def scenario():
        with connected() as (owner, spliced, peer):
            peer.send(b"question")
            peer.shutdown(socket.SHUT_WR)
            await owner.wait_for("end")
            assert owner.data == b"question"
            assert spliced.ended
            spliced.write(b"answer")
            spliced.end()
            assert await read_all(peer) == b"answer"

    run(loop, scenario())


def test_a_closed_peer_is_reported(loop):
    """This is another end than a half-close; a write to it is lost."""

    async def scenario():
        with connected() as (owner, spliced, peer):
            peer.close()
            await owner.wait_for("closed")
            spliced.write(b"x")
            assert owner.calls[-1] == "lost"
            spliced.write(b"x")
            assert owner.calls.count("lost") == 1

    run(loop, scenario())


def test_a_full_socket_keeps_the_rest(loop):
    """All is written in order when the peer reads, and the end comes after it."""
    sent = os.urandom(8 << 20)

    async def scenario():
        with connected() as (owner, spliced, peer):
            spliced.write(sent[:-5])
            assert owner.calls == ["full"]
            assert spliced.is_full
            spliced.write(sent[-5:])
            spliced.end()
            assert await read_all(peer) == sent
            await owner.wait_for("drained")
            assert not spliced.is_full

    run(loop, scenario())


def test_a_paused_socket_reads_nothing(loop):
    """It reads again once it is resumed."""

    async def scenario():
        with connected() as (owner, spliced, peer):
            spliced.pause()
            peer.send(b"x")
            await asyncio.sleep(0)
            assert owner.calls == []
            spliced.resume()
            await owner.wait_for("data")
            assert owner.data == b"x"

    run(loop, scenario())


@pytest.mark.parametrize("has_splice", [True, False])
def test_spliced_data_does_not_reach_the_owner(loop, monkeypatch, has_splice):
    """It goes to the target; without splice(2) the owner gets it after all."""
    if not has_splice:
        monkeypatch.setattr(spliced_socket, "_SPARE_CONDUITS", [])
        monkeypatch.setattr(host, "make_splice_pipe", lambda _: None)

    async def scenario():
        with connected() as (owner, source, peer), connected() as (_, target, reader):
            source.splice(target)
            peer.send(b"stream")
            if has_splice:
                assert await asyncio.get_running_loop().sock_recv(reader, 100) == b"stream"
            else:
                await owner.wait_for("data")
            peer.shutdown(socket.SHUT_WR)
            await owner.wait_for("end")
            assert owner.data == (b"" if has_splice else b"stream")

    run(loop, scenario())
