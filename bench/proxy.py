"""Measure what the docker proxy of a running agent costs, with a stand-in for the engine.

`proxy_splice_ratio`: the rate of a hijacked stream, as of `docker exec`, through the proxy divided
by the rate without. Both alternate. Engine, proxy and client share one core, so that only their
work is compared: on two cores a direct stream mostly waits for the other core.

`proxy_rss_growth_mib`: the agent's resident memory after 10,000 requests and 1 GB of streams, less
the memory before the first of them.
"""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from bench.cores import pinned
from bench.daemon import NUMBER, read, send_zeros
from bench.figure import Figure, typical
from bench.stage import hold_job, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

MIB = 1 << 20
TURNS = 9
STREAM = 512 * MIB
"""Bytes of one stream."""
REQUESTS = 10_000
"""Every fifth request creates a container, and every fifth removes one."""
AT_ONCE = 8
STREAMS, EACH = 64, 16 * MIB
DEADLINE = 60.0
_HEAD_END = b"\r\n\r\n"
_EXEC = (
    b"POST /exec/x/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)
_BODY = b'{"Image":"base","Cmd":["true"],"Env":["A=1"],"HostConfig":{"Binds":["/tmp:/x"]}}'


class ProxiedLife(NamedTuple):
    """A running agent whose job waits."""

    pid: int
    engine: str
    """The socket of the stand-in."""
    proxy: str
    """The socket in the job's DOCKER_HOST."""


def measure(
    stage: Stage, turns: int = TURNS, stream: int = STREAM, requests: int = REQUESTS
) -> Iterator[Figure]:
    """Measure both figures; memory first, while the agent has done nothing yet."""
    with run_proxied(stage) as life:
        yield measure_growth(life, requests)
        pairs = measure_pairs(life, turns, stream, core=0)
        across = measure_pairs(life, turns, stream, core=-1)
    through_proxy, direct = (typical(rates) for rates in zip(*pairs, strict=True))
    yield Figure(
        "proxy_splice_ratio",
        ratio(pairs),
        f"{through_proxy:.0f} MiB/s",
        f"{direct:.0f} MiB/s (no proxy)",
        {
            "proxy_splice_mib_s": through_proxy,
            "proxy_splice_straight_mib_s": direct,
            "proxy_splice_across_cores_ratio": ratio(across),
        },
    )


def measure_pairs(
    life: ProxiedLife, turns: int, stream: int, *, core: int
) -> list[tuple[float, float]]:
    """Stream with the proxy and without, the client on that core; return the pairs of rates."""

    def pair() -> tuple[float, float]:
        return download(life.proxy, stream), download(life.engine, stream)

    with pinned(core):
        pair()  # warms up
        return [pair() for _ in range(turns)]


def ratio(pairs: list[tuple[float, float]]) -> float:
    """Return the typical ratio of a pair: other work on the machine slows both parts of a pair."""
    return typical([ours / theirs for ours, theirs in pairs])


@contextmanager
def run_proxied(stage: Stage) -> Iterator[ProxiedLife]:
    """Run an agent on a core of its own within the block, with a stand-in for the engine."""
    folder = stage.folder / f"docker-{next(stage.names)}"
    folder.mkdir()
    with ExitStack() as stack:
        with pinned(0):
            engine = stack.enter_context(program("bench.daemon", str(folder / "engine.sock")))
        docker = {"DOCKER_HOST": f"unix://{engine}", "SIDECAR_SHARED_DIR": str(folder)}
        reply = hold_job(stage, 'echo "$DOCKER_HOST"', SIDECAR_DOCKER_PROXY="on", **docker)
        child, host = stack.enter_context(reply)
        yield ProxiedLife(child.pid, engine, host.removeprefix("unix://"))


@contextmanager
def open_stream(path: str) -> Iterator[socket.socket]:
    """Open a hijacked stream."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(path)
        sock.sendall(_EXEC)
        head = b""
        while not head.endswith(_HEAD_END):
            head += sock.recv(1) or raise_ended()
        yield sock


def raise_ended() -> bytes:
    """Raise an error for a stream that has ended too early."""
    raise RuntimeError("a stream ended before it had begun")


def download(path: str, size: int) -> float:
    """Read from the engine; return the rate in MiB/s. Raises RuntimeError if data is missing."""
    with open_stream(path) as sock:
        started = monotonic()
        sock.sendall(size.to_bytes(NUMBER, "big"))
        count = read(sock)
        seconds = monotonic() - started
    if count != size:
        raise RuntimeError(f"{count} bytes came, not {size}")
    return size / MIB / seconds


def upload(path: str, size: int) -> None:
    """Send to the engine. Raises RuntimeError if it did not read all of it."""
    with open_stream(path) as sock:
        sock.sendall(bytes(NUMBER))
        send_zeros(sock, size)
        sock.shutdown(socket.SHUT_WR)
        reply = sock.recv(NUMBER, socket.MSG_WAITALL)
    if int.from_bytes(reply, "big") != size:
        raise RuntimeError(f"the engine did not take {size} bytes")


def measure_growth(life: ProxiedLife, requests: int) -> Figure:
    """Send many requests and streams; return the growth of the agent's memory."""
    before = read_memory(life.pid)
    with pinned(-1), ThreadPoolExecutor(AT_ONCE) as workers:
        for _ in workers.map(lambda _: create_and_remove(life.proxy), range(requests // 5)):
            pass
        streams = STREAMS * requests // REQUESTS
        transfers = [download if number % 2 else upload for number in range(streams)]
        for _ in workers.map(lambda transfer: transfer(life.proxy, EACH), transfers):
            pass
    after = read_memory(life.pid)
    parts = {"proxy_rss_mib": after, "proxy_rss_before_mib": before}
    return Figure(
        "proxy_rss_growth_mib",
        after - before,
        f"{after:.1f} MiB",
        f"{before:.1f} MiB (before)",
        parts,
    )


def create_and_remove(path: str) -> None:
    """Send the requests of a client that creates and removes a container, on one connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(path)
        request(sock, "GET /_ping", 200)
        request(sock, "GET /v1.41/version", 200)
        created = request(sock, "POST /v1.41/containers/create", 201, _BODY)
        container = re.search(rb'"Id": ?"(\w+)"', created)
        name = container[1].decode() if container else "none"
        request(sock, f"GET /v1.41/containers/{name}/json", 200)
        request(sock, f"DELETE /v1.41/containers/{name}", 204)


def request(sock: socket.socket, what: str, wanted: int, body: bytes = b"") -> bytes:
    """Send a request on a connection that stays open; return the response's body."""
    head = f"{what} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
    sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    received = b""
    while _HEAD_END not in received:
        received += sock.recv(65536) or raise_ended()
    head, _, rest = received.partition(_HEAD_END)
    if not head.startswith(b"HTTP/1.1 %d" % wanted):
        raise RuntimeError(f"{what} was answered {head!r}")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(rest) < int(length[1]):
        rest += sock.recv(65536) or raise_ended()
    return rest


def read_memory(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
