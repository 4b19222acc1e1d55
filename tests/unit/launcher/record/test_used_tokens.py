"""The tasks whose tokens the workers delete: none is lost, and one worker deletes at a time."""

import asyncio

from launcher.record.records import Records
from tests.unit.launcher.work.scene import START, Client


def play(story):
    """Run a story with two workers and one clock."""
    clock, client = [START], Client()
    records = [Records(client, "launches", name, now=lambda: clock[0]) for name in ("a", "b")]
    asyncio.run(story(clock, *(each.used_tokens for each in records)))


def test_what_was_added_stays_until_it_is_removed():
    """Twice the same task is one task."""

    async def story(clock, one, other):
        del clock
        assert [await one.add("t1"), await other.add("t2"), await one.add("t1")] == [1, 2, 2]
        assert await other.claim() == ["t1", "t2"]
        assert await other.add("t3") == 3
        assert await other.remove(["t1", "t2"]) == 1
        assert await other.remove(["t3"]) == 0
        await other.release()
        assert await one.claim() == []

    play(story)


def test_one_worker_deletes_and_the_next_one_where_it_dies():
    """Its claim ends after a minute."""

    async def story(clock, one, other):
        await one.add("t1")
        assert await one.claim() == ["t1"]
        assert await other.claim() == []
        clock[0] += 61
        assert await other.claim() == ["t1"]

    play(story)
