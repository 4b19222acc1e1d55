"""Measure a cold start of the webhook's Lambda handler, beside a floor of the standard library.

From the start of the process to the answer of its first delivery. What Lambda itself takes before
(the sandbox, its runtime client) is the same for both, and not in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from bench.deliveries import SECRET, make_headers, make_payload
from bench.figure import Figure, typical
from bench.stage import base_environment, life, program
from bench.tries import UnansweredError, repeat
from local import aws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

RUNS = 21
FLOOR = str(Path(__file__).parent / "lambda_floor.py")
HANDLER = """
import json, sys
from launcher.lambdas import webhook
with open(sys.argv[1], encoding="utf-8") as file:
    event = json.load(file)
print("answered", webhook(event, None)["statusCode"], flush=True)
"""
"""Import the handler and call it with the event, as Lambda's runtime does."""
ROOT = Path(__file__).parent.parent


def measure(stage: Stage, runs: int = RUNS) -> Iterator[Figure]:
    """Start handler and floor in turns, so that a busy machine slows both alike."""
    path = stage.folder / "event.json"
    path.write_text(json.dumps(make_event(1)))
    ways = {
        "handler": (sys.executable, "-c", HANDLER, str(path)),
        "floor": (sys.executable, FLOOR, str(path)),
    }
    readings: dict[str, list[float]] = {name: [] for name in ways}
    with program("bench.sqs") as url:
        env = environment(url)
        for turn in range(runs + 1):
            for name, argv in ways.items():
                took = once(env, argv)
                if turn:  # the first one of each pays for cold caches
                    readings[name].append(took)
    ms = {name: typical(taken) * 1000 for name, taken in readings.items()}
    yield Figure(
        "lambda_cold_vs_floor",
        ms["handler"] / ms["floor"],
        f"{ms['handler']:.0f} ms",
        f"{ms['floor']:.0f} ms (standard library)",
        {"lambda_cold_ms": ms["handler"], "lambda_floor_ms": ms["floor"]},
    )


def make_event(job: int) -> dict[str, object]:
    """Make the event that a function URL sends (format 2.0)."""
    body = make_payload(job)
    return {
        "version": "2.0",
        "rawPath": "/",
        "headers": make_headers(body, job),
        "requestContext": {"http": {"method": "POST", "path": "/"}},
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def environment(sqs: str) -> dict[str, str]:
    """Return the function's environment; the floor has names of its own for two of them."""
    from bench.sqs import QUEUE

    queue = sqs + QUEUE
    return {
        **base_environment(),
        "PYTHONPATH": str(ROOT),
        "AWS_REGION": aws.REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_ENDPOINT_URL_SQS": sqs,
        "LAUNCHER_QUEUE_URL": queue,
        "LAUNCHER_WEBHOOK_SECRETS": SECRET,
        "QUEUE_URL": queue,
        "WEBHOOK_SECRET": SECRET,
    }


def once(env: dict[str, str], argv: tuple[str, ...]) -> float:
    """Return the seconds from the start of one process to its answer. Raises RuntimeError.

    It is started again where the queue was late for it: that is answered with 503.
    """

    def run() -> float:
        with life(env, argv) as child:
            child.until("answered ")
            took = monotonic() - child.started
            said = child.said[-1].strip()
        if said == "answered 202":
            return took
        kind = UnansweredError if "answered 503" in said else RuntimeError
        raise kind(f"it was not taken: {said}")

    return repeat(run)
