"""End the background tasks of a stand-in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


async def end_stories(stories: Iterable[asyncio.Task[None] | None]) -> None:
    """End what still goes on of these; how they end does not matter."""
    living = [story for story in stories if story is not None and not story.done()]
    for story in living:
        story.cancel()
    await asyncio.gather(*living, return_exceptions=True)


async def end_watch(watching: asyncio.Task[None]) -> None:
    """End a task of the stand-in's own; what went wrong in it is raised."""
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
