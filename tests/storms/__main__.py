"""`make soak` runs 500 storms with tasks, 300 with machines, 500 with every intake that are swept.

`--storm SEED` runs one again and tells its story.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.storms.storm import ON_MACHINES, SWEPT, run_storm, run_storms

AT_ONCE = 50
"""Storms of one report."""


def main() -> int:
    """Run the storms; returns 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.storms", description=__doc__)
    parser.add_argument("--storms", type=int, default=500, help="with tasks alone")
    parser.add_argument("--machines", type=int, default=300, help="storms with machines")
    parser.add_argument("--swept", type=int, default=500, help="storms that are swept")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all storms together")
    parser.add_argument("--storm", help="the seed of one storm, as SEED-NUMBER")
    args = parser.parse_args()
    if args.storm:
        storm = run_storm(args.storm)
        print(storm.tell(100_000))
        return int(bool(storm.wrong))
    print(f"seed {args.seed}", flush=True)
    codes = [0]
    kinds = (("", args.storms), (ON_MACHINES, args.machines), (SWEPT, args.swept))
    for first, count in kinds:
        seeds = [f"{first}{args.seed}-{number}" for number in range(count)]
        codes += [_run(seeds[begin : begin + AT_ONCE]) for begin in range(0, count, AT_ONCE)]
    return max(codes)


def _run(seeds: list[str]) -> int:
    """Run some of the storms, and report: nobody waits for the end of all to see a mistake."""
    wrong, report = run_storms(seeds)
    print(report, flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
