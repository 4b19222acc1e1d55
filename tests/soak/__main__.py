"""`make soak`: run a thousand lives in which something goes wrong, and hostile webhooks.

`--life SEED` runs one of the lives again and prints its log.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import time

from local import aws
from tests.soak.life import Verdict, command
from tests.soak.lives import report, run_lives
from tests.soak.plan import plan


def main() -> int:
    """Run the lives; returns 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all lives together")
    parser.add_argument("--beside", type=int, default=8, help="lives at the same time")
    parser.add_argument("--webhooks", type=int, default=100_000, help="hostile ones; 0: none")
    parser.add_argument("--requests", type=int, default=100_000, help="hostile ones; 0: none")
    parser.add_argument("--life", help="the seed of one life, as SEED-NUMBER")
    args = parser.parse_args()
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    seeds = [args.life] if args.life else [f"{args.seed}-{i}" for i in range(args.lives)]
    print(f"seed {args.life or args.seed}", flush=True)
    begun = time.monotonic()
    with aws.serving() as moto:
        verdicts = asyncio.run(run_lives(moto, seeds, args.beside, _print_mistakes))
    if args.life:
        print(plan(args.life), verdicts[0].transcript, sep="\n")
    print(report(verdicts, begun))
    counts = {"webhooks": args.webhooks, "requests": args.requests} if not args.life else {}
    taken = [take_hostile(what, count) for what, count in counts.items() if count]
    return int(any(verdict.wrong for verdict in verdicts) or not all(taken))


HOSTILE = {
    "webhooks": "tests/unit/launcher/demand/test_webhook.py",
    "requests": "tests/unit/launcher/api/test_hostile.py",
}
"""What strangers send, and the tests that send it."""


def take_hostile(what: str, count: int) -> bool:
    """Let webhook or API take so many hostile ones; return whether all was well."""
    begun = time.monotonic()
    argv = [sys.executable, "-m", "pytest", "-q", "-n0", HOSTILE[what], "-k", "hostile"]
    env = os.environ | {f"HOSTILE_{what.upper()}": str(count)}
    done = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)
    print(f"{count} hostile {what} in {time.monotonic() - begun:.0f} s: exit {done.returncode}")
    if done.returncode:
        print(done.stdout)
    return done.returncode == 0


def _print_mistakes(verdict: Verdict) -> None:
    for wrong in verdict.wrong:
        print(f"{wrong}\n  {command(verdict.plan.seed)}", flush=True)
    if verdict.wrong:  # the same moment may never come again
        print(verdict.transcript, flush=True)


if __name__ == "__main__":
    sys.exit(main())
