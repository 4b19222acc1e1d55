"""Show on a terminal how far an order has come: a bar for each stage, below the log's lines."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from rich.console import Console
    from rich.progress import Progress, TaskID

STAGES = {
    "task.placed": "tasks placed",
    "token.handed_over": "tokens handed over",
    "task.running": "tasks running",
    "runner.online": "runners online",
}
"""The event that ends each stage of a launch, and what its bar counts."""
FAILED = "task.failed"
"""The event after which a launch begins anew."""
LAST = {"none": "token.handed_over", "running": "task.running", "online": "runner.online"}
"""The last stage that an order waits for."""


def can_be_shown(log_format: str) -> bool:
    """Whether somebody watches, and the library for it is installed (the extra `progress`)."""
    watched = log_format != "json" and sys.stdout.isatty()
    return watched and importlib.util.find_spec("rich") is not None


@contextmanager
def showing(count: int, wait: str, console: Console | None = None) -> Iterator[None]:
    """Show the bars of an order of `count` launches for the block; they follow the log's events."""
    from rich.progress import (  # late: only a terminal needs it
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as shown:
        bars = Bars(shown, count, wait)
        processors = structlog.get_config()["processors"]
        processors.insert(0, bars.follow)  # in place: loggers that are cached have this list
        try:
            yield
        finally:
            processors.remove(bars.follow)


class Bars:
    """A bar for each stage that an order waits for. A launch counts once in each."""

    def __init__(self, shown: Progress, count: int, wait: str) -> None:
        self._shown = shown
        self._bars: dict[str, TaskID] = {}
        self._launches: dict[str, set[str]] = {}
        for event, words in STAGES.items():
            if event == "task.running" and wait != "running":
                continue
            self._bars[event] = shown.add_task(words, total=count)
            self._launches[event] = set()
            if event == LAST[wait]:
                break

    def follow(
        self, _logger: Any, _level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Move the bars by one event of the log, which goes on unchanged."""
        name, launch = event.get("event", ""), str(event.get("launch", ""))
        if name == FAILED:
            for reached in self._launches.values():
                reached.discard(launch)
        elif name in self._launches:
            self._launches[name].add(launch)
        for each, bar in self._bars.items():
            self._shown.update(bar, completed=len(self._launches[each]))
        return event
