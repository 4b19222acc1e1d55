"""The file from which a step cleans up after a killed one."""

import asyncio
import stat
from dataclasses import replace

from launcher.action import journal
from launcher.record.launch import Launch


def test_what_is_saved_is_read_again(tmp_path):
    """The last state of each launch, whole, for the same user only."""
    path = tmp_path / "launches.json"
    assert journal.read(path) == []
    kept = journal.FileJournal(path)
    first = Launch("1", pool="", demand="", first_seen=0.0, order="o")
    second = replace(first, id="2", request="{}", reasons=("a",))

    async def write():
        for launch in (first, second, replace(first, place="task", generation=1)):
            assert await kept.save(launch) == launch

    asyncio.run(write())
    assert journal.read(path) == [replace(first, place="task", generation=1), second]
    assert kept.latest(first).place == "task"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
