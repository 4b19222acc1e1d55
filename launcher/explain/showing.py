"""Print a story: as lines for people, or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from launcher.explain.entries import Entry, Mark, clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.explain.judging import Story

COLORS = {Mark.FAILED: "31;1", Mark.DONE: "32", Mark.WAITS: "33", Mark.UNSEEN: "35"}
LONGEST_LINE = 1000


def show_text(story: Story, *, colors: bool = False) -> str:
    """Return the story as lines for people."""
    return "\n".join(_list_lines(story, colors=colors)) + "\n"


def _list_lines(story: Story, *, colors: bool) -> Iterator[str]:
    yield f"{story.subject}: {story.state}"
    if not story.is_known:
        yield _paint("no source that was asked knows it", Mark.FAILED, colors=colors)
    cause = story.cause
    if cause is not None:
        line = f"first failing line: {cause.source}: {_fit(cause.text)}"
        yield _paint(line, Mark.FAILED, colors=colors)
        if cause.advice:
            yield f"what to change: {_fit(cause.advice)}"
    yield ""
    yield from _list_timeline(story, colors=colors)
    if story.unseen:
        yield ""
        yield "what could not be seen:"
        for entry in story.unseen:
            yield _paint(f"  {entry.source:<8} {_fit(entry.text)}", Mark.UNSEEN, colors=colors)


def _list_timeline(story: Story, *, colors: bool) -> Iterator[str]:
    day, began = "", next((entry.at for entry in story.entries if entry.at is not None), None)
    for entry in story.entries:
        moment = datetime.fromtimestamp(entry.at, UTC) if entry.at is not None else None
        if moment is not None and (date := f"{moment:%Y-%m-%d}") != day:
            day = date
            yield f"{day} (UTC)"
        clock = f"{moment:%H:%M:%S}" if moment is not None else ""
        since = _show_since(entry, began)
        mark = _paint(f"{entry.mark:<7}", entry.mark, colors=colors)
        sign = "> " if entry is story.cause else "  "
        yield f"{sign}{clock:<8} {since:>9}  {entry.source:<8} {mark} {_fit(entry.text)}".rstrip()


def _show_since(entry: Entry, began: float | None) -> str:
    if entry.at is None or began is None:
        return ""
    passed = max(0.0, entry.at - began)
    if passed < 600:
        return f"+{passed:.1f}s"
    return f"+{passed / 60:.0f}min" if passed < 36_000 else f"+{passed / 3600:.1f}h"


def _paint(text: str, mark: Mark, *, colors: bool) -> str:
    color = COLORS.get(mark) if colors else None
    return f"\x1b[{color}m{text}\x1b[0m" if color else text


def _fit(text: str) -> str:
    """Guard each line once more: no secret, no control character."""
    return clean(text, LONGEST_LINE)


# --- JSON -------------------------------------------------------------------------------------


def show_json(story: Story) -> str:
    """Return the story as one object of JSON."""
    return json.dumps(to_dict(story), ensure_ascii=False) + "\n"


def to_dict(story: Story) -> dict[str, Any]:
    """Return the story as plain values."""
    return {
        "subject": clean(story.subject),
        "state": clean(story.state),
        "known": story.is_known,
        "cause": _write(story.cause) if story.cause is not None else None,
        "timeline": [_write(entry) for entry in story.entries],
        "unseen": [{"source": each.source, "reason": _fit(each.text)} for each in story.unseen],
    }


def _write(entry: Entry) -> dict[str, Any]:
    at = datetime.fromtimestamp(entry.at, UTC).isoformat() if entry.at is not None else None
    found = {
        "at": at,
        "source": entry.source,
        "mark": entry.mark.lower() or "note",
        "text": _fit(entry.text),
        "advice": _fit(entry.advice),
        "task": entry.task,
    }
    return {name: value for name, value in found.items() if value}
