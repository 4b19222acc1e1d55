"""`python -m bench`: measure, print a table, write `results/latest.json`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from bench import (
    api,
    burst,
    docker,
    fleet,
    health,
    idle,
    job_role,
    lambdas,
    launch_fleet,
    proxy,
    queued,
    relay,
    report,
    startup,
    stops,
    sweep,
    webhooks,
    whole,
    windows,
)
from bench.stage import open_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.figure import Figure
    from bench.stage import Stage

RESULTS = Path(__file__).parent / "results" / "latest.json"

PARTS: Mapping[str, Callable[[Stage], Iterator[Figure]]] = {
    "startup": startup.measure,
    "windows": windows.measure,
    "idle": idle.measure,
    "stops": stops.measure,
    "whole": whole.measure,
    "health": health.measure,
    "fleet": fleet.measure,
    "relay": relay.measure,
    "burst": burst.measure,
    "job_role": job_role.measure,
    "proxy": proxy.measure,
    "docker": docker.measure,
    "lambdas": lambdas.measure,
    "webhooks": webhooks.measure,
    "queued": queued.measure,
    "api": api.measure,
    "launch_fleet": launch_fleet.measure,
    "sweep": sweep.measure,
}
"""The parts of the bench in the order of their run; each is one module."""


def main(argv: list[str] | None = None) -> int:
    """Measure what is asked for; returns 1 if something failed, or missed a limit with --strict."""
    asked = options(argv)
    console = Console()
    figures: list[Figure] = []
    failed: dict[str, str] = {}
    skipped = find_missing()
    with open_stage() as stage:
        for name in asked.only or PARTS:
            with console.status(f"measuring {name}"):
                try:
                    figures += PARTS[name](stage)
                except (OSError, RuntimeError) as error:
                    failed[name] = str(error) or repr(error)
    console.print(report.table(figures, skipped))
    for name, why in failed.items():
        console.print(f"[bold red]{name} cannot be measured:[/]", escape(why))
    report.write(asked.results, figures, keep=bool(asked.only))
    missed = [figure.key for figure in figures if not figure.met]
    if missed:
        console.print(f"[bold red]missed: {', '.join(missed)}[/] (a busy machine? run it again)")
    return 1 if failed or (asked.strict and missed) else 0


def find_missing() -> dict[str, str]:
    """Return the figures that cannot be measured here, each with what it needs."""
    needs = (
        (startup.shell_missing(), ("startup_vs_shell",)),
        (windows.missing(), windows.KEYS),
        (relay.missing(), relay.KEYS),
        (webhooks.missing(), webhooks.KEYS),
        (webhooks.missing(), ("api_vs_floor",)),
        (docker.missing(), docker.KEYS),
    )
    return {key: f"skipped: needs {what}" for what, keys in needs if what for key in keys}


def options(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit 1 if a limit is missed")
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="measure this part (may be repeated)"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="where the figures go, as {key: number}"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
