"""A job's request to docker, however large, leaves the agent's one loop its turns.

The loop also hears the stop signal, answers the health check and serves credentials.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from sidecar.docker import entry_count, proxy, rewriting
from sidecar.docker.entry_count import ENTRY_SIZE, MAX_ENTRIES, EntryCount
from sidecar.docker.json_documents import parse_object
from tests.support.loops import run
from tests.unit.docker.fakes import answer_all, post, start_stage
from tests.unit.docker.test_rewriting import CREATE, FakePaths, RequestRefused, make_policy

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform == "win32":
    pytest.skip("Windows has no docker proxy", allow_module_level=True)

PATH = "/v1.41/containers/create"
ORDINARY = json.dumps({"Image": "x", "Env": [f"NAME_{n}=value" for n in range(100)]}).encode()
SIZE = 3_800_000


def mounts(number: int) -> bytes:
    """Return a create request with so many empty mounts."""
    return b'{"HostConfig":{"Mounts":[' + b",".join([b"{}"] * number) + b"]}}"


def lift_limits(monkeypatch):
    """Take the mends away: as many entries as a body can have, judged in the loop."""
    monkeypatch.setattr(entry_count, "MAX_ENTRIES", 1 << 30)
    monkeypatch.setattr(rewriting, "_is_small", lambda _body: True)
    monkeypatch.setattr("sidecar.docker.connection.ENTRY_SIZE", 0)


class Turns:
    """Measures the longest turn of the loop, in seconds of its own thread's processor time.

    So other programs on this machine count for nothing.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._last: float | None = None
        self._going = True

    def __enter__(self):
        self._tick()
        return self

    def __exit__(self, *_):
        self._going = False

    def _tick(self) -> None:
        now = time.thread_time()
        if self._last is not None:
            self.longest = max(self.longest, now - self._last)
        self._last = now
        if self._going:
            asyncio.get_running_loop().call_soon(self._tick)


def send(path: Path, request: bytes) -> bytes:
    """Send a request in the calling thread; return the response's first line."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            client.sendall(request)
        return client.makefile("rb").readline()


async def send_at_once(stage, body: bytes, clients: int) -> list[bytes]:
    """Send a create request from so many threads at once; return the status lines."""
    request = post(PATH, body)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(clients) as threads:
        sent = [loop.run_in_executor(threads, send, stage.path, request) for _ in range(clients)]
        return await asyncio.gather(*sent)


async def measure(stage, body: bytes, clients: int = 4) -> tuple[float, set[bytes]]:
    """Return the loop's longest turn while these are sent, and the status lines."""
    with Turns() as turns:
        lines = await send_at_once(stage, body, clients)
    return turns.longest, {line.split()[1] for line in lines}


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "plain"])
def test_a_million_mounts_do_not_hold_up_the_loop(mended, strict, monkeypatch, tmp_path):
    """Four requests with 3.8 MB of empty mounts: no turn is longer than three ordinary ones.

    An unmended agent stands still for as long as it judges them; here a hundredth of that is sent.
    """
    if not mended:
        lift_limits(monkeypatch)

    async def play():
        async with start_stage(tmp_path, answer_all, strict=strict) as stage:
            ordinary = 0.0
            for _ in range(10):
                longest, answered = await measure(stage, ORDINARY)
                assert answered == {b"201"}
                ordinary = max(ordinary, longest)
            crowded = []
            for _ in range(3 if mended else 1):  # a turn may have the garbage of another round
                longest, refused = await measure(stage, mounts(SIZE // (3 if mended else 300)))
                assert refused <= ({b"413"} if mended else {b"201", b"403"})  # strict says 403
                crowded.append(longest)
            return min(crowded) <= 3 * ordinary

    assert run("asyncio", play()) is mended


def test_what_is_judged_in_a_thread_leaves_the_loop_its_turns(tmp_path):
    """A body with as many entries as may be checked is judged, and no turn takes the time for it.

    The turn that measures is the processor time of the loop's own thread: most of the work is in
    another one.
    """

    async def play():
        async with start_stage(tmp_path, answer_all, strict=True) as stage:
            most, turns = mounts((MAX_ENTRIES - 4) // 2), []
            for _ in range(3):  # a turn may have the garbage of another round
                crowded, answered = await measure(stage, most, clients=1)
                assert answered <= {b"201", b"403"}
                turns.append(crowded)
            began = time.thread_time()
            with suppress(RequestRefused):
                await make_policy(FakePaths(), strict=True)._check(CREATE, most, rewriting._call)
            at_once = time.thread_time() - began
            assert min(turns) < at_once / 2

    run("asyncio", play())


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_the_limit_of_held_bodies_counts_what_is_built(mended, monkeypatch, tmp_path):
    """Incomplete bodies of few bytes and many objects reach the limit for all connections.

    An unmended agent counts only their bytes.
    """
    body = mounts(5_000)
    if not mended:
        monkeypatch.setattr("sidecar.docker.connection.ENTRY_SIZE", 0)
    monkeypatch.setattr(proxy, "MAX_HELD", 10_000 * ENTRY_SIZE)

    async def play():
        async with start_stage(tmp_path, answer_all) as stage:
            writers = []
            for _ in range(2):
                reader, writer = await stage.connect()
                writer.write(post(PATH, body + b" ")[:-1])
                await writer.drain()
                writers.append(writer)
            last = asyncio.ensure_future(reader.readline())
            if mended:
                assert b" 503 " in await last
            else:
                reader, writer = await stage.connect()  # its answer comes after both were read
                writer.write(post(PATH, ORDINARY))
                assert b" 201 " in await reader.readline()
                assert not last.done()
                last.cancel()
            for one in (*writers, writer):
                one.close()

    run("asyncio", play())


def test_an_entry_takes_no_more_than_what_is_counted_for_it():
    """An empty object with its parsed form, and one with a field, are below that size."""
    for entry in (b"{}", b'{"a":1}', b'{"a":{"b":[]}}'):
        body = b'{"x":[' + b",".join([entry] * 1000) + b"]}"
        counted = EntryCount().feed(body)
        tracemalloc.start()
        try:
            fields = parse_object(body)
            for one in fields["x"]:
                one.find_key("y")
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size / counted <= ENTRY_SIZE, entry
