"""Ask a relay from 2,000 clients at the same time, before its first fetch ends."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.cores import pinned
from bench.figure import Figure, typical
from bench.stage import base_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

SIZE = 2000
RUNS = 5
UPSTREAM_SECONDS = 0.02
"""More than the ECS agent needs for an answer; the burst begins before it."""
TRIES = 10
"""Number of tries of a burst in which a client was refused. On a busy machine, the first fetch may
take longer than the 40 ms for which the relay lets clients wait."""
DEADLINE = 60.0


def measure(_: Stage, runs: int = RUNS, size: int = SIZE) -> Iterator[Figure]:
    """Start `runs` relays, each with a burst; return the largest count and the typical time."""
    bursts, calls = [], []
    for _turn in range(runs):
        times, asked = try_burst(size)
        bursts.append(sorted(times)[int(0.99 * len(times))] * 1000)
        calls.append(asked)
    p99 = typical(bursts)
    yield Figure("relay_burst_p99_ms", p99, f"{p99:.0f} ms", f"{size} at once")
    yield Figure("relay_burst_upstream_calls", max(calls), f"{max(calls)}", f"{size} at once")


def try_burst(size: int) -> tuple[list[float], int]:
    """Start a relay with a burst; return the times, and how often upstream was asked."""
    for left in reversed(range(TRIES)):
        with upstream() as (url, asked), relay(url) as uri:
            try:
                return burst(uri, size), len(asked)
            except Refused:
                if not left:
                    raise
    raise AssertionError  # the last one returns or raises


class Refused(RuntimeError):
    """A client got no credentials."""


def burst(uri: str, size: int) -> list[float]:
    """Ask by `size` new connections; return the seconds until each got its answer.

    All times begin when the first connection is opened; they include the work of this client.
    Raises Refused unless every client gets credentials.
    """
    url = urlsplit(uri)
    head = f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAccept: */*\r\n\r\n".encode()
    address = url.hostname, url.port
    with ExitStack() as opened, select.epoll() as polled:
        clients = {}
        for _ in range(size):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            clients[client.fileno()] = client
        began = monotonic()
        for number, client in clients.items():
            client.connect_ex(address)
            polled.register(number, select.EPOLLOUT)
        return read_answers(polled, clients, head, began)


def read_answers(
    polled: select.epoll, clients: dict[int, socket.socket], head: bytes, began: float
) -> list[float]:
    """Send on each connection when it is open, read its answer; return the time of each answer."""
    times: list[float] = []
    while len(times) < len(clients):
        events = polled.poll(began + DEADLINE - monotonic())
        if not events:
            raise RuntimeError(f"{len(clients) - len(times)} of a burst were never answered")
        for number, event in events:
            client = clients[number]
            if event & select.EPOLLOUT:
                client.send(head)
                polled.modify(number, select.EPOLLIN)
                continue
            answer = client.recv(65536)
            if not answer.startswith(b"HTTP/1.1 200 ") or b"AccessKeyId" not in answer:
                raise Refused(f"one of a burst got {answer[:80]!r}")
            times.append(monotonic() - began)
            polled.unregister(number)
    return times


@contextmanager
def relay(upstream: str) -> Iterator[str]:
    """Start a relay on its own core; yield its URI as soon as it listens."""
    argv = [sys.executable, "-m", "bench.served", upstream]
    root, env = Path(__file__).parent.parent, base_environment()
    with ExitStack() as cleanup:
        with pinned(0):
            child = cleanup.enter_context(
                subprocess.Popen(
                    argv,
                    cwd=root,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        cleanup.callback(child.kill)
        assert child.stdout  # noqa: S101  for the type checker: it is a pipe
        word, _, uri = child.stdout.readline().strip().partition(" ")
        if word != "ready":
            raise RuntimeError("cannot start a relay (try `python -m bench.served URL`)")
        with pinned(-1):
            yield uri


@contextmanager
def upstream() -> Iterator[tuple[str, list[str]]]:
    """Serve credentials after UPSTREAM_SECONDS; yield the URL and the list of requests."""
    asked: list[str] = []
    expires = datetime.now(UTC) + timedelta(hours=6)
    body = (
        '{"RoleArn":"arn:aws:iam::123456789012:role/task","AccessKeyId":"ASIABENCH",'
        f'"SecretAccessKey":"secret","Token":"{"t" * 800}",'
        f'"Expiration":"{expires:%Y-%m-%dT%H:%M:%SZ}"}}'
    ).encode()

    class Upstream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            sleep(UPSTREAM_SECONDS)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/credentials", asked
        finally:
            server.shutdown()
