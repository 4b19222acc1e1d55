"""Write docs/failures.md from the tables of agent and launcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs import failures, failures_api, failures_launcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docs.failures import Cell

SECTIONS = (*failures.SECTIONS, *failures_launcher.SECTIONS, *failures_api.SECTIONS)
MEANINGS = {**failures_launcher.MEANINGS, **failures_api.MEANINGS}


def page() -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# What happens when a call fails"
    yield ""
    yield (
        "Written by `make docs` from `docs/failures.py`, `docs/failures_launcher.py` and "
        "`docs/failures_api.py`; "
        "`tests/failures` plays every cell. A cell has the exit code, an event of the log, and "
        "what is left (as `cleanup.failed` names it). The [reference](reference.md) explains exit "
        "codes and events. Where a message of the queue is handled there is no exit code but a "
        "word:"
    )
    yield ""
    yield from (f"- {word}: {text}" for word, text in MEANINGS.items())
    for section in SECTIONS:
        yield from ("", f"## {section.title}", "")
        for fault, meaning in section.faults.items():
            yield f"- **{fault}**: {meaning}"
        yield ""
        yield f"| | {' | '.join(section.faults)} |"
        yield "|---" * (len(section.faults) + 1) + "|"
        for row in section.rows:
            yield f"| {row.call} | {' | '.join(map(_shown, row.cells.values()))} |"


def _shown(cell: Cell) -> str:
    left = f"; left: {', '.join(cell.left)}" if cell.left else ""
    event = "" if cell.event in ("", "life.ended") else f" `{cell.event}`"
    return f"{cell.exit}{event}{left}"
