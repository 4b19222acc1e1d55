"""`make soak` runs ten storms of real processes; `--storm SEED` runs one again with its log."""

from __future__ import annotations

import argparse
import os
import secrets
import sys

from tests.storms.real.storm import Storm, run_storm, run_storms


def main() -> int:
    """Run the storms; returns 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.storms.real", description=__doc__)
    parser.add_argument("--storms", type=int, default=10)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all storms together")
    parser.add_argument("--storm", help="the seed of one storm, as SEED-NUMBER")
    args = parser.parse_args()
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    if args.storm:
        storm = run_storm(args.storm)
        print(storm.tell())
        return int(bool(storm.wrong))
    print(f"seed {args.seed}", flush=True)
    seeds = (f"{args.seed}-{number}" for number in range(args.storms))
    wrong, report = run_storms(seeds, _print_mistakes)
    print(report)
    return int(bool(wrong))


def _print_mistakes(storm: Storm) -> None:
    if storm.wrong:  # the same moments may never come again
        print(storm.tell(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
