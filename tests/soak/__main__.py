"""`make soak`: a thousand bad lives. `--life SEED` plays one again and shows its log."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time

from local import aws
from tests.soak.many import many, report
from tests.soak.plan import plan
from tests.soak.story import Verdict, command


def main() -> int:
    """Play; give 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all lives together")
    parser.add_argument("--beside", type=int, default=8, help="lives at the same time")
    parser.add_argument("--life", help="the seed of one life, as SEED-NUMBER")
    args = parser.parse_args()
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    seeds = [args.life] if args.life else [f"{args.seed}-{i}" for i in range(args.lives)]
    print(f"seed {args.life or args.seed}", flush=True)
    begun = time.monotonic()
    with aws.serving() as moto:
        verdicts = asyncio.run(many(moto, seeds, args.beside, _tell))
    if args.life:
        print(plan(args.life), verdicts[0].transcript, sep="\n")
    print(report(verdicts, begun))
    return int(any(verdict.wrong for verdict in verdicts))


def _tell(verdict: Verdict) -> None:
    for wrong in verdict.wrong:
        print(f"{wrong}\n  {command(verdict.plan.seed)}", flush=True)
    if verdict.wrong:  # a moment that does not come again
        print(verdict.transcript, flush=True)


if __name__ == "__main__":
    sys.exit(main())
