"""Print a line for each thing that was done, and show live what is being done.

On a terminal the lines are coloured, and a spinner below them shows what goes on. Elsewhere they
are plain text, printed as soon as something is done.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

COLOURS = {
    "demo": "bright_black",
    "launcher": "bright_blue",
    "agent": "cyan",
    "runner": "bright_black",
    "AWS": "yellow",
    "ECS": "yellow",
    "EC2": "yellow",
    "machine": "blue",
    "GitHub": "magenta",
    "job": "green",
    "workflow": "green",
    "container": "blue",
}
WIDTH = 160
"""Columns where there is no terminal to ask."""


def console() -> Console:
    """Make the console that everything is written to."""
    made = Console(highlight=False, emoji=False)
    return made if made.is_terminal else Console(highlight=False, emoji=False, width=WIDTH)


class Timeline:
    """The lines that a person watches; times are seconds since it was made."""

    def __init__(self, to: Console) -> None:
        self._console = to
        self._began = time.monotonic()
        self._open: dict[str, tuple[float, str, str]] = {}

    def __rich__(self) -> RenderableType:
        """Draw what goes on now."""
        rows = [self._spinning(*each) for each in self._open.values()]
        return Group(*rows)

    @property
    def age(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @property
    def doing(self) -> str:
        """Say in words what goes on now."""
        return "; ".join(f"{who} {doing}" for _, who, doing in self._open.values())

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show what goes on, below what was done, within the block."""
        self._console.print(Text("   after      took", style="bright_black"))
        if not self._console.is_terminal:
            yield
            return
        with Live(self, console=self._console, transient=True, refresh_per_second=12, screen=False):
            yield

    def begin(self, key: str, who: str, doing: str, *, keep: bool = False) -> None:
        """Show that something begins; `done` with the same `key` ends it.

        `keep`: it has begun already, and only its words change.
        """
        since = self._open[key][0] if keep and key in self._open else self.age
        self._open[key] = (since, who, doing)

    def end(self, key: str) -> None:
        """Show no more what began as `key`."""
        self._open.pop(key, None)

    def done(
        self, who: str, what: str, key: str = "", took: float | None = None, style: str = ""
    ) -> None:
        """Show that something is done; what began as `key` took until now."""
        begun = self._open.pop(key, None)
        if begun is not None and took is None:
            took = self.age - begun[0]
        line = Text(f"{self.age:6.2f} s  ")
        line.append(f"{took:6.2f} s  " if took is not None else " " * 10, "bright_black")
        line.append(f"{who:<11}", COLOURS[who])
        line.append(what, style)
        self._console.print(line, soft_wrap=True)
        if not self._console.is_terminal:
            sys.stdout.flush()

    @contextmanager
    def step(self, who: str, doing: str, what: str) -> Iterator[None]:
        """Show what the demo itself does within the block."""
        self.begin("step", who, doing)
        yield
        self.done(who, what, "step")

    def _spinning(self, since: float, who: str, doing: str) -> RenderableType:
        row = Table.grid()
        text = Text(f"{self.age - since:6.2f} s  ", "bright_black")
        text.append(f"{who:<11}", COLOURS[who])
        text.append(f"{doing} …" if self._console.encoding.startswith("utf") else f"{doing} ...")
        spinner = Spinner("dots" if self._console.encoding.startswith("utf") else "line")
        row.add_row(Text(" " * 6), spinner, Text("   "), text)
        return row
