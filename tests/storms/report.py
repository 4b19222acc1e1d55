"""Write the report of many storms, whichever kind they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.storms import storm
    from tests.storms.real import storm as real

    Storm = storm.Storm | real.Storm


def write_report(
    title: str,
    storms: Sequence[Storm],
    figures: Mapping[str, str],
    command: Callable[[str], str],
) -> str:
    """Write the sums, and each storm that went wrong with the command that plays it again."""
    wrong = [each for each in storms if each.wrong]
    counts = {
        "jobs": f"{sum(each.jobs for each in storms)}",
        "tasks": f"{sum(each.tasks for each in storms)}",
        **figures,
        "wrong": f"{len(wrong)}",
    }
    lines = [f"{len(storms)} {title}", *(f"  {name:<18}{count}" for name, count in counts.items())]
    for each in wrong:
        lines += [f"    {line}" for line in each.wrong[:5]]
        lines.append(f"      {command(each.plan.seed)}")
    return "\n".join(lines)
