"""Measure from a delivery to RunTask: `runner-launcher serve`, one queued job after the other.

The clock begins before the delivery is sent, and ends when the stand-in for ECS receives RunTask.
Between the two: the webhook, SendMessage, the waiting ReceiveMessage, the look at the job's run at
GitHub (does it come from a fork?), the launch's record in DynamoDB.

Queue and table are `bench.sqs` and `bench.table`: moto looks for a message every ten milliseconds
only, and parses an update expression in twenty.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

from bench.deliveries import LABELS, REPOSITORY, make_headers, make_payload
from bench.figure import Figure, typical
from bench.lambdas import environment
from bench.stage import call, life, program
from bench.tries import UnansweredError, repeat
from bench.webhooks import LAUNCHER
from local.stage import PAT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.child import Child
    from bench.stage import Stage

JOBS = 30
POOLS = f"""\
[[pool]]
name = "bench"
labels = {json.dumps([label for label in LABELS if label != "self-hosted"])}
cluster = "runners"
task_definition = "runner:1"
launch_type = "FARGATE"
subnets = ["subnet-01234567"]
maximum = 1000
"""


def measure(stage: Stage, jobs: int = JOBS) -> Iterator[Figure]:
    """Deliver one queued job after the other; the first one is not counted."""
    took: list[float] = []
    with (
        program("bench.sqs") as sqs,
        program("bench.run_task") as ecs,
        program("bench.table") as table,
        serve(stage, sqs, ecs, table) as (child, url),
    ):
        for number in range(jobs + 1):
            sent = deliver(url, *queue_job(stage))
            received = call(f"{ecs}/_local/received?count={number + 1}")[number]
            child.until('"event": "token.handed_over"')
            took.append((received - sent) * 1000)
    counted = sorted(took[1:])
    yield Figure(
        "queued_to_runtask_ms",
        typical(counted),
        f"{typical(counted):.0f} ms",
        f"{counted[-1]:.0f} ms (the slowest of {jobs})",
        {"queued_to_runtask_least_ms": counted[0], "queued_to_runtask_most_ms": counted[-1]},
    )


@contextmanager
def serve(stage: Stage, sqs: str, ecs: str, table: str) -> Iterator[tuple[Child, str]]:
    """Run webhook and worker in one process; yield it and the URL of its webhook."""
    pools = stage.folder / "pools.toml"
    pools.write_text(POOLS, encoding="utf-8")
    env = {
        **environment(sqs),
        "AWS_ENDPOINT_URL_SSM": stage.ssm,
        "AWS_ENDPOINT_URL_DYNAMODB": table,
        "AWS_ENDPOINT_URL_ECS": ecs,
        "LAUNCHER_LISTEN": "127.0.0.1:0",
        "LAUNCHER_LOG_FORMAT": "json",
        "LAUNCHER_TABLE": "launches",
        "LAUNCHER_POOLS": str(pools),
        "LAUNCHER_GITHUB_URL": stage.github,
        "LAUNCHER_GITHUB_PAT": PAT,
        "LAUNCHER_PARAMETER_PREFIX": "/bench/tokens",
    }
    with life(env, (*LAUNCHER, "serve")) as child:
        child.until('"event": "service.started"')
        yield child, f"{json.loads(child.said[-1])['address']}/webhook"


def queue_job(stage: Stage) -> tuple[int, int]:
    """Queue a job at GitHub, which is asked about its run; return the ids of job and run."""
    wanted = {"name": "build", "repository": REPOSITORY, "labels": LABELS, "steps": []}
    job = call(f"{stage.github}/_local/jobs", wanted)
    return int(job["id"]), int(job["run_id"])


def deliver(url: str, job: int, run: int) -> float:
    """Deliver one queued job; return when it was sent. Raises OSError if it is not taken."""
    body = make_payload(job, run)
    request = urllib.request.Request(url, body, make_headers(body, job))
    sent = monotonic()

    def post() -> None:
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:  # the queue was late for the webhook
                raise UnansweredError(str(error)) from error
            raise

    repeat(post)
    return sent
