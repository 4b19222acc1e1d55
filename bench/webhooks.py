"""Compare the webhook service, `runner-launcher webhook`, with bare aiohttp.

wrk posts the same signed delivery over 32 connections to both, in turns; wrk and the queue have
another core than the server. What counts is how many deliveries a server answers in a second of
its own CPU time: where it has the core alone these are its deliveries per second, and where it has
not, the others do not count. Each turn gives a ratio. The service runs on uvloop, as the agent
does; the floor on asyncio's own loop, as bare aiohttp does.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench import relay
from bench.child import cpu_ms_now
from bench.cores import pinned
from bench.deliveries import make_headers, make_payload
from bench.figure import Figure, typical
from bench.lambdas import environment
from bench.stage import call, life, program
from bench.tries import UnansweredError, repeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

KEYS = ("webhook_vs_floor",)
TURNS = 9
CONNECTIONS = 32
SECONDS = 1
LAUNCHER = (sys.executable, "-m", "launcher")
FLOOR = str(Path(__file__).parent / "webhook_floor.py")
SCRIPT = """\
wrk.method = "POST"
wrk.body = [==[{body}]==]
{headers}
"""


_COUNT = re.compile(r"(\d+) requests in")


class Server(NamedTuple):
    """A server that runs."""

    url: str
    pid: int


class Reading(NamedTuple):
    """One run of wrk: deliveries in a second, and in a second of the server's CPU time."""

    rate: float
    per_cpu: float


def missing() -> str:
    """Return which program is missing."""
    return "" if relay.find("wrk") else "wrk"


def measure(stage: Stage, turns: int = TURNS) -> Iterator[Figure]:
    """Measure both in turns; no figure if wrk is missing."""
    if missing():
        return
    script = stage.folder / "delivery.lua"
    script.write_text(make_script(1))
    pairs: list[tuple[Reading, Reading]] = []
    with pinned(-1), program("bench.sqs") as sqs, service(sqs) as own, floor(sqs) as peer:
        for turn in range(turns + 1):
            pair = post(own, script), post(peer, script)
            call(f"{sqs}/_local/empty")
            if turn:  # the first one is not counted
                pairs.append(pair)
    rate, least = (typical([each.per_cpu for each in side]) for side in zip(*pairs, strict=True))
    wall, floor_wall = (typical([each.rate for each in side]) for side in zip(*pairs, strict=True))
    yield Figure(
        "webhook_vs_floor",
        typical([ours.per_cpu / theirs.per_cpu for ours, theirs in pairs]),
        f"{rate:.0f} per CPU second",
        f"{least:.0f} (bare aiohttp)",
        {
            "webhook_per_cpu_second": rate,
            "webhook_floor_per_cpu_second": least,
            "webhook_per_second": wall,
            "webhook_floor_per_second": floor_wall,
        },
    )


def make_script(job: int) -> str:
    """Make the script by which wrk posts one delivery again and again."""
    body = make_payload(job)
    headers = [
        f'wrk.headers["{key}"] = "{value}"' for key, value in make_headers(body, job).items()
    ]
    return SCRIPT.format(body=body.decode(), headers="\n".join(headers))


@contextmanager
def service(sqs: str) -> Iterator[Server]:
    """Run the service on its own core."""
    env = {**environment(sqs), "LAUNCHER_LISTEN": "127.0.0.1:0", "LAUNCHER_LOG_FORMAT": "json"}
    with pinned(0), life(env, (*LAUNCHER, "webhook")) as child:
        child.until('"event": "service.started"')
        yield Server(f"{json.loads(child.said[-1])['address']}/webhook", child.pid)


@contextmanager
def floor(sqs: str) -> Iterator[Server]:
    """Run the floor on the same core."""
    with pinned(0):
        argv = (sys.executable, FLOOR)
        child = subprocess.Popen(
            argv, env=environment(sqs), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with child:
        assert child.stdout is not None  # noqa: S101
        line = child.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError(f"the floor did not start: {line!r}")
        yield Server(f"{line.split()[1]}/webhook", child.pid)


def post(server: Server, script: Path, seconds: int = SECONDS) -> Reading:
    """Run wrk against a server. Raises UnansweredError unless requests were answered."""
    return repeat(lambda: _post(server, script, seconds))


def _post(server: Server, script: Path, seconds: int) -> Reading:
    wrk = relay.find("wrk") or ""
    how = ("-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script))
    before = cpu_ms_now(server.pid)
    done = subprocess.run(
        [wrk, *how, server.url], capture_output=True, check=True, text=True, timeout=60
    )
    used = (cpu_ms_now(server.pid) - before) / 1000
    count = _COUNT.search(done.stdout)
    if count is None or not int(count[1]) or not used:
        raise UnansweredError(f"nothing was answered in {used} CPU seconds: {done.stdout}")
    return Reading(relay.read(done.stdout).rate, int(count[1]) / used)
