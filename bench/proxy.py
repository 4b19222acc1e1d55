"""The docker proxy of a life, before a stand-in for the engine: what passing bytes on costs.

`proxy_splice_ratio`: a hijacked stream, as `docker exec` has it, through the proxy and without, by
turns. Engine, proxy and client share one core, so that what is compared is the work alone: on two
cores a straight stream waits for the other core more than for anything else.

`proxy_rss_growth_mib`: the agent's resident memory after 10,000 requests and 1 GB of streams, less
what it was before the first of them.
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
from bench.daemon import NUMBER, sent, taken
from bench.figure import Figure, typical
from bench.stage import hold_job, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

MIB = 1 << 20
TURNS = 9
STREAM = 512 * MIB
"""Bytes of one turn's half."""
REQUESTS = 10_000
"""Of which each fifth makes a container, and each fifth removes one."""
AT_ONCE = 8
STREAMS, EACH = 64, 16 * MIB
DEADLINE = 60.0
_HEAD_END = b"\r\n\r\n"
_EXEC = (
    b"POST /exec/x/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)
_BODY = b'{"Image":"base","Cmd":["true"],"Env":["A=1"],"HostConfig":{"Binds":["/tmp:/x"]}}'


class Proxied(NamedTuple):
    """A life whose job waits."""

    pid: int
    engine: str
    """The stand-in's socket."""
    proxy: str
    """The socket that the job was given."""


def measure(
    stage: Stage, turns: int = TURNS, stream: int = STREAM, requests: int = REQUESTS
) -> Iterator[Figure]:
    """Measure both; the memory first, as of an agent that has done nothing yet."""
    with proxied(stage) as life:
        yield grown(life, requests)
        pairs = by_turns(life, turns, stream, core=0)
        across = by_turns(life, turns, stream, core=-1)
    through, straight = (typical(rates) for rates in zip(*pairs, strict=True))
    yield Figure(
        "proxy_splice_ratio",
        ratio(pairs),
        f"{through:.0f} MiB/s",
        f"{straight:.0f} MiB/s (no proxy)",
        {
            "proxy_splice_mib_s": through,
            "proxy_splice_straight_mib_s": straight,
            "proxy_splice_across_cores_ratio": ratio(across),
        },
    )


def by_turns(life: Proxied, turns: int, stream: int, *, core: int) -> list[tuple[float, float]]:
    """Stream through the proxy and without, the client on that core; return both rates of each."""

    def pair() -> tuple[float, float]:
        return streamed(life.proxy, stream), streamed(life.engine, stream)

    with pinned(core):
        pair()  # warms up
        return [pair() for _ in range(turns)]


def ratio(pairs: list[tuple[float, float]]) -> float:
    """Return the typical ratio of a turn: what else the machine does weighs on both its halves."""
    return typical([ours / theirs for ours, theirs in pairs])


@contextmanager
def proxied(stage: Stage) -> Iterator[Proxied]:
    """Live a life on a core of its own that stands before a stand-in, for the block."""
    folder = stage.folder / f"docker-{next(stage.names)}"
    folder.mkdir()
    with ExitStack() as ends:
        with pinned(0):
            engine = ends.enter_context(program("bench.daemon", str(folder / "engine.sock")))
        docker = {"DOCKER_HOST": f"unix://{engine}", "SIDECAR_SHARED_DIR": str(folder)}
        told = hold_job(stage, 'echo "$DOCKER_HOST"', SIDECAR_DOCKER_PROXY="on", **docker)
        child, host = ends.enter_context(told)
        yield Proxied(child.pid, engine, host.removeprefix("unix://"))


@contextmanager
def hijacked(path: str) -> Iterator[socket.socket]:
    """Open a stream without a form of its own."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(path)
        sock.sendall(_EXEC)
        head = b""
        while not head.endswith(_HEAD_END):
            head += sock.recv(1) or gone()
        yield sock


def gone() -> bytes:
    """Say that a stream has ended too early."""
    raise RuntimeError("a stream ended before it had begun")


def streamed(path: str, size: int) -> float:
    """Have the engine send; return the rate in MiB/s. Raises RuntimeError unless all of it came."""
    with hijacked(path) as sock:
        begun = monotonic()
        sock.sendall(size.to_bytes(NUMBER, "big"))
        count = taken(sock)
        seconds = monotonic() - begun
    if count != size:
        raise RuntimeError(f"{count} bytes came, not {size}")
    return size / MIB / seconds


def swallowed(path: str, size: int) -> None:
    """Send to the engine. Raises RuntimeError unless it took all."""
    with hijacked(path) as sock:
        sock.sendall(bytes(NUMBER))
        sent(sock, size)
        sock.shutdown(socket.SHUT_WR)
        told = sock.recv(NUMBER, socket.MSG_WAITALL)
    if int.from_bytes(told, "big") != size:
        raise RuntimeError(f"the engine did not take {size} bytes")


def grown(life: Proxied, requests: int) -> Figure:
    """Ask and stream a great deal; return by how much the agent has grown."""
    before = resident(life.pid)
    with pinned(-1), ThreadPoolExecutor(AT_ONCE) as several:
        for _ in several.map(lambda _: visited(life.proxy), range(requests // 5)):
            pass
        streams = STREAMS * requests // REQUESTS
        both = [streamed if number % 2 else swallowed for number in range(streams)]
        for _ in several.map(lambda way: way(life.proxy, EACH), both):
            pass
    after = resident(life.pid)
    parts = {"proxy_rss_mib": after, "proxy_rss_before_mib": before}
    return Figure(
        "proxy_rss_growth_mib",
        after - before,
        f"{after:.1f} MiB",
        f"{before:.1f} MiB (before)",
        parts,
    )


def visited(path: str) -> None:
    """Ask what a client asks who makes a container and removes it, on one connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(path)
        asked(sock, "GET /_ping", 200)
        asked(sock, "GET /v1.41/version", 200)
        made = asked(sock, "POST /v1.41/containers/create", 201, _BODY)
        container = re.search(rb'"Id": ?"(\w+)"', made)
        name = container[1].decode() if container else "none"
        asked(sock, f"GET /v1.41/containers/{name}/json", 200)
        asked(sock, f"DELETE /v1.41/containers/{name}", 204)


def asked(sock: socket.socket, what: str, wanted: int, body: bytes = b"") -> bytes:
    """Ask on a connection that stays open; return the answer's body."""
    head = f"{what} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
    sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    heard = b""
    while _HEAD_END not in heard:
        heard += sock.recv(65536) or gone()
    head, _, rest = heard.partition(_HEAD_END)
    if not head.startswith(b"HTTP/1.1 %d" % wanted):
        raise RuntimeError(f"{what} was answered {head!r}")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(rest) < int(length[1]):
        rest += sock.recv(65536) or gone()
    return rest


def resident(pid: int) -> float:
    """Return the memory in MiB that a process has now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
