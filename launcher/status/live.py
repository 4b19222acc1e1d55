"""Show the pools again and again: in place on a terminal, a line of JSON each time elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from launcher.status.snapshot import take_snapshot
from launcher.status.table import show_json, show_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.status.snapshot import Around

HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""The other screen of a terminal, without a cursor; and back."""


async def show_once(around: Around, write: Callable[[str], object], *, as_json: bool) -> None:
    """Show the pools as they are now. Raises AwsError."""
    shot = await take_snapshot(around)
    write(show_json(shot) if as_json else show_text(shot))


async def show_json_lines(around: Around, write: Callable[[str], object], every: float) -> None:
    """Write a line of JSON again and again, until it is cancelled. Raises AwsError."""
    while True:
        await show_once(around, write, as_json=True)
        await asyncio.sleep(every)


async def show_live(around: Around, write: Callable[[str], object], every: float) -> None:
    """Show the table in place again and again, until it is cancelled. Raises AwsError."""
    write(ENTER)
    try:
        while True:
            text = show_text(await take_snapshot(around))
            shown = f"{text}\nevery {every:g} s; Ctrl-C ends it\n"
            write(HOME + shown.replace("\n", f"{CLEAR_LINE}\n") + CLEAR_BELOW)
            await asyncio.sleep(every)
    finally:
        write(LEAVE)
