"""What was found: a table for a person, a JSON object for a program."""

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
    """Lay the figures out beside their floors and limits; what was not measured says why."""
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
    for key, why in unmeasured.items():
        rows.add_row(key, why, style="yellow")
    return rows


def shown(value: float) -> str:
    """Write a ratio with two places, a time with none too many."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}".removesuffix(".0")


def write(path: Path, figures: Iterable[Figure], *, keep: bool) -> None:
    """Write {key: number}: the figures, and the readings they were made of.

    `keep` leaves what the file says of figures that were not measured this time.
    """
    found: dict[str, float] = json.loads(path.read_text()) if keep and path.exists() else {}
    for figure in figures:
        found |= {figure.key: round(figure.value, 3)}
        found |= {key: round(value, 2) for key, value in figure.parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")
