"""`make soak` runs five hundred storms; `--storm SEED` runs one again and tells its story."""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.storms.storm import run_storm, run_storms


def main() -> int:
    """Run the storms; returns 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.storms", description=__doc__)
    parser.add_argument("--storms", type=int, default=500)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all storms together")
    parser.add_argument("--storm", help="the seed of one storm, as SEED-NUMBER")
    args = parser.parse_args()
    if args.storm:
        storm = run_storm(args.storm)
        print(storm.tell(100_000))
        return int(bool(storm.wrong))
    wrong, report = run_storms(f"{args.seed}-{number}" for number in range(args.storms))
    print(f"seed {args.seed}", report, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
