"""Compare the relay of a running agent, with every check and the audit on, with nginx.

nginx answers the same bytes from memory, which is its fastest way; from a file it is a fifth
slower. wrk asks both over 32 connections that stay open. The server has one core, and wrk another.
They take turns of one second, and each turn gives a ratio: other load on the machine then slows
both halves of a turn.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from bench.cores import pinned
from bench.figure import Figure, typical
from bench.stage import hold_job
from bench.tries import UnansweredError, repeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

TURNS = 15
CONNECTIONS = 32
SECONDS = 1
DEADLINE = 30.0
KEYS = ("relay_vs_nginx", "relay_p99_vs_nginx")
TOOLS = ("nginx", "wrk")
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_P99 = re.compile(r"99%\s+([\d.]+)(us|ms|s)\b")
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}

NGINX = """\
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; server_tokens off; keepalive_requests 1000000000; keepalive_timeout 1h;
    client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
    uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
    server {{
        listen 127.0.0.1:{port};
        location = {path} {{
            default_type application/json; add_header Cache-Control no-store;
            return 200 '{body}';
        }}
    }}
}}
"""


class Reading(NamedTuple):
    """One run of wrk."""

    rate: float
    """Requests in a second."""
    p99: float
    """Microseconds."""


def missing() -> str:
    """Return which of the programs are missing."""
    return ", ".join(tool for tool in TOOLS if find(tool) is None)


def measure(stage: Stage, turns: int = TURNS) -> Iterator[Figure]:
    """Measure both in turns; no figures if nginx or wrk is missing."""
    if missing():
        return
    with relay(stage) as uri, nginx(stage, uri) as peer:
        ask(uri), ask(peer)  # the first turn is not counted
        pairs = [(ask(uri), ask(peer)) for _ in range(turns)]
    yield from figures(pairs)


def figures(pairs: list[tuple[Reading, Reading]]) -> Iterator[Figure]:
    """Return the two figures, from the readings of relay and nginx in each turn."""
    own = Reading(*map(typical, zip(*(ours for ours, _ in pairs), strict=True)))
    peer = Reading(*map(typical, zip(*(theirs for _, theirs in pairs), strict=True)))
    yield Figure(
        "relay_vs_nginx",
        typical([ours.rate / theirs.rate for ours, theirs in pairs]),
        f"{own.rate:.0f} /s",
        f"{peer.rate:.0f} /s (nginx)",
        {"relay_per_second": own.rate, "relay_nginx_per_second": peer.rate},
    )
    yield Figure(
        "relay_p99_vs_nginx",
        typical([ours.p99 / theirs.p99 for ours, theirs in pairs]),
        f"{own.p99 / 1000:.2f} ms",
        f"{peer.p99 / 1000:.2f} ms (nginx)",
        {"relay_p99_ms": own.p99 / 1000, "relay_nginx_p99_ms": peer.p99 / 1000},
    )


@contextmanager
def relay(stage: Stage) -> Iterator[str]:
    """Run an agent with a job that waits, on its own core; yield the URI of its relay."""
    # With network rules, requests to the relay would pass them, and those to nginx would not.
    with hold_job(stage, 'echo "$RUNNER_SIDECAR_RELAY_URI"', SIDECAR_RELAY="local") as (_, uri):
        yield uri


@contextmanager
def nginx(stage: Stage, uri: str) -> Iterator[str]:
    """Serve the answer of the relay by nginx, on the same core; yield its URI."""
    folder = stage.folder / "nginx"
    folder.mkdir()
    with urllib.request.urlopen(uri, timeout=DEADLINE) as answer:
        body = answer.read().decode()  # without ' and $, which nginx would interpret
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    path = urlsplit(uri).path
    config.write_text(NGINX.format(folder=folder, port=port, path=path, body=body))
    with pinned(0):
        server = subprocess.Popen([find("nginx") or "", "-e", "stderr", "-c", str(config)])
    try:
        _wait_for_port(port)
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def ask(uri: str) -> Reading:
    """Run wrk for a second. Raises UnansweredError unless every request got its answer."""
    argv = [find("wrk") or "", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", uri]

    def run() -> Reading:
        with pinned(-1):
            wrk = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=60)
        return read(wrk.stdout)

    return repeat(run)


def read(output: str) -> Reading:
    """Parse the output of wrk. Raises UnansweredError."""
    rate, p99 = _RATE.search(output), _P99.search(output)
    failed = "Non-2xx" in output or "Socket errors" in output
    if failed or rate is None or p99 is None or not float(rate[1]):
        raise UnansweredError(f"not every request was answered: {output}")
    return Reading(float(rate[1]), float(p99[1]) * _UNITS[p99[2]])


def find(tool: str) -> str | None:
    """Return the path of a program; servers are not on everybody's path."""
    return shutil.which(tool, path=_PATH)


def _wait_for_port(port: int) -> None:
    until = monotonic() + DEADLINE
    while monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        sleep(0.05)
    raise RuntimeError("cannot start nginx")
