"""Measure the API, `runner-launcher api`: how soon a start is at AWS, and its speed beside a floor.

*How soon*: from before the request is sent until the stand-in for EC2 has answered RunInstances.
Between the two: the token's verification, its use and the launch's record in DynamoDB.

*Speed*: wrk posts the same start, which was taken before, over 32 connections to the API and to
bare aiohttp with the same cryptography and the same calls of the table, in turns; what counts is
what a server answers in a second of its own CPU time (see `bench.webhooks`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple

from bench.cores import pinned
from bench.figure import Figure, typical
from bench.lambdas import environment
from bench.stage import call, life, program
from bench.webhooks import LAUNCHER, Reading, Server, missing, post
from local.stage import PAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

KEYS = ("api_to_runinstances_ms", "api_vs_floor")
STARTS = 18
"""Fewer than the launcher starts at once: the rest would wait for its turn."""
TURNS, SECONDS = 7, 2
LIFE = 3000
"""Seconds for which the tokens hold: for longer than all of this takes."""
FLOOR = str(Path(__file__).parent / "api_floor.py")
BODY = {"labels": ["bench"]}
POOLS = """\
[[pool]]
name = "bench"
place = "ec2"
labels = ["bench"]
launch_template = "runner"
capacities = ["on-demand"]
instance_types = ["c7i.large"]
subnets = ["subnet-0000000a"]
maximum = 1000

[[caller]]
name = "bench"
repositories = [7]
events = ["push"]
refs = ["refs/heads/main"]
pools = ["bench"]
maximum = 1000
"""
SCRIPT = """\
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["authorization"] = "Bearer {token}"
wrk.headers["content-type"] = "application/json"
"""


class Begun(NamedTuple):
    """A start: when it was sent, and the id of its launch."""

    sent: float
    id: str


def measure(stage: Stage, starts: int = STARTS, turns: int = TURNS) -> Iterator[Figure]:
    """Measure both; without wrk only the first."""
    with (
        program("local.oidc") as issuer,
        program("bench.run_instances") as ec2,
        program("bench.table") as table,
        serve(stage, issuer, ec2, table) as own,
    ):
        yield _measure_starts(own.url, issuer, ec2, starts)
        if not missing():
            token = make_token(issuer)
            begun = start(own.url, token)  # what wrk sends is this start again
            with floor(issuer, table, begun.id) as peer:
                yield _measure_speed(stage, token, own, peer, turns)


def _measure_starts(url: str, issuer: str, ec2: str, starts: int) -> Figure:
    """Start one runner after the other; the first one is not counted."""
    took = []
    for number in range(starts + 1):
        token = make_token(issuer)
        sent = start(url, token).sent
        received = call(f"{ec2}/_local/received?count={number + 1}")[number]
        took.append((received - sent) * 1000)
    counted = sorted(took[1:])
    return Figure(
        "api_to_runinstances_ms",
        typical(counted),
        f"{typical(counted):.0f} ms",
        f"{counted[-1]:.0f} ms (the slowest of {starts})",
        {"api_to_runinstances_least_ms": counted[0], "api_to_runinstances_most_ms": counted[-1]},
    )


def _measure_speed(stage: Stage, token: str, own: Server, peer: Server, turns: int) -> Figure:
    script = stage.folder / "start.lua"
    script.write_text(SCRIPT.format(body=json.dumps(BODY), token=token))
    pairs: list[tuple[Reading, Reading]] = []
    with pinned(-1):
        for turn in range(turns + 1):
            pair = post(own, script, SECONDS), post(peer, script, SECONDS)
            if turn:  # the first one is not counted
                pairs.append(pair)
    rate, least = (typical([each.per_cpu for each in side]) for side in zip(*pairs, strict=True))
    return Figure(
        "api_vs_floor",
        typical([ours.per_cpu / theirs.per_cpu for ours, theirs in pairs]),
        f"{rate:.0f} per CPU second",
        f"{least:.0f} (bare aiohttp)",
        {"api_per_cpu_second": rate, "api_floor_per_cpu_second": least},
    )


@contextmanager
def serve(stage: Stage, issuer: str, ec2: str, table: str) -> Iterator[Server]:
    """Run the API on its own core."""
    pools = stage.folder / "api-pools.toml"
    pools.write_text(POOLS, encoding="utf-8")
    env = {
        **environment(stage.ssm),
        "AWS_ENDPOINT_URL_SSM": stage.ssm,
        "AWS_ENDPOINT_URL_DYNAMODB": table,
        "AWS_ENDPOINT_URL_EC2": call(f"{ec2}/_local/endpoint"),
        "LAUNCHER_LISTEN": "127.0.0.1:0",
        "LAUNCHER_LOG_FORMAT": "json",
        "LAUNCHER_TABLE": "launches",
        "LAUNCHER_POOLS": str(pools),
        "LAUNCHER_GITHUB_URL": stage.github,
        "LAUNCHER_GITHUB_PAT": PAT,
        "LAUNCHER_PARAMETER_PREFIX": "/bench/api",
        "LAUNCHER_API_ISSUER": issuer,
    }
    with pinned(0), life(env, (*LAUNCHER, "api")) as child:
        child.until('"event": "service.started"')
        yield Server(f"{json.loads(child.said[-1])['address']}/start", child.pid)


@contextmanager
def floor(issuer: str, table: str, launch: str) -> Iterator[Server]:
    """Run the floor on the same core; it reads the same launch's record."""
    env = {**environment(table), "ISSUER": issuer, "TABLE": table, "LAUNCH": launch}
    with pinned(0):
        child = subprocess.Popen(
            (sys.executable, FLOOR),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    with child:
        assert child.stdout is not None  # noqa: S101
        line = child.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError(f"the floor did not start: {line!r}")
        yield Server(f"{line.split()[1]}/start", child.pid)


def make_token(issuer: str) -> str:
    """Have a token made for a job of the caller's repository."""
    claims = {"repository": "octo/repo", "repository_id": 7, "exp": int(time()) + LIFE}
    return str(call(f"{issuer}/_local/tokens", claims)["value"])


def start(url: str, token: str) -> Begun:
    """Start a runner. Raises OSError if it is refused."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(BODY).encode(), headers)
    sent = monotonic()
    with urllib.request.urlopen(request, timeout=90) as answer:
        return Begun(sent, str(json.load(answer)["id"]))
