"""Report the figures: a table for a person, a JSON object for a program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.table import Table

from bench.figure import LEAST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bench.figure import Figure


def table(figures: Iterable[Figure], unmeasured: Mapping[str, str]) -> Table:
    """Return a table of the figures and their limits; `unmeasured` has reasons by key."""
    rows = Table(title="bench")
    for heading in ("figure", "agent", "beside", "value", "limit", ""):
        rows.add_column(
            heading,
            justify="right" if heading in ("value", "limit") else "left",
            no_wrap=heading == "figure",
        )
    for figure in figures:
        rows.add_row(
            figure.key,
            figure.measured,
            figure.beside,
            shown(figure.value),
            f"{'≥' if figure.key in LEAST else '≤'} {shown(figure.limit)}",
            "[green]met[/]" if figure.met else "[bold red]MISSED[/]",
        )
    for key, reason in unmeasured.items():
        rows.add_row(key, reason, style="yellow")
    return rows


def shown(value: float) -> str:
    """Return a small value with two decimals, a large one with one."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}".removesuffix(".0")


def write(path: Path, figures: Iterable[Figure], *, keep: bool) -> None:
    """Write the figures and their readings to `path`, as {key: number}.

    With `keep` the file keeps the figures that were not measured this time.
    """
    found: dict[str, float] = json.loads(path.read_text()) if keep and path.exists() else {}
    for figure in figures:
        found |= {figure.key: round(figure.value, 3)}
        found |= {key: round(value, 2) for key, value in figure.parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")
