"""Keep the launches of a step in a file, so that a later step can clean up after a killed one.

The file is in the runner's own folder for temporary files, which the runner empties after each job.
It holds no secret: names, ids, and the requests to ECS.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from launcher.journal import MemoryJournal
from launcher.record.launch import Launch

if TYPE_CHECKING:
    from pathlib import Path

LISTS = ("reasons", "counters")


class FileJournal(MemoryJournal):
    """Keeps launches in memory, and each change of one in a file too."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._written: dict[str, Launch] = {}

    async def save(self, launch: Launch) -> Launch:
        """Keep the launch; it is in the file before this returns."""
        self._written[launch.id] = launch
        document = [asdict(each) for each in self._written.values()]
        new = self._path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(document), encoding="utf-8")
        new.replace(self._path)
        return await super().save(launch)


def read(path: Path) -> list[Launch]:
    """Read the launches that a step has written; none if it has begun none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [Launch(**{**each, **{name: tuple(each[name]) for name in LISTS}}) for each in document]
