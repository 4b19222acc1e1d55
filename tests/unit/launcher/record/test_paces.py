"""Turns in one line for all workers: none too early, none twice, and all later where it stops."""

import asyncio

import pytest

from launcher.record.paces import Pace, Paces
from launcher.record.records import Records
from tests.unit.launcher.work.scene import START, Client

PACE = Pace("RunTask", rate=20, burst=20)


class Workers:
    """Some workers with one table and one clock."""

    def __init__(self, count):
        self.clock = [START]
        client = Client()
        make = (Records(client, "launches", f"w{number}", now=self.now) for number in range(count))
        self.paces: list[Paces] = [records.paces for records in make]

    def now(self):
        """Return the time."""
        return self.clock[0]


def play(story, count=1):
    """Run a story."""
    workers = Workers(count)
    return asyncio.run(story(workers))


def test_a_burst_comes_at_once_then_each_turn_at_the_rate():
    """However many workers take them, all at the same time."""

    async def story(workers):
        taken = [workers.paces[number % 4].take(PACE) for number in range(1000)]
        turns = await asyncio.gather(*taken)
        waits = sorted(turn.due - START for turn in turns)
        assert sum(wait <= 0 for wait in waits) == 20
        assert waits[-1] == pytest.approx(49, abs=0.1)
        assert len({turn.place for turn in turns}) == 1000

    play(story, 4)


def test_after_a_rest_the_burst_is_there_again():
    """But no more than that, however long it was."""

    async def story(workers):
        (paces,) = workers.paces
        for _ in range(100):
            await paces.take(PACE)
        workers.clock[0] += 3600
        dues = [(await paces.take(PACE)).due - workers.now() for _ in range(21)]
        assert [due <= 0 for due in dues] == [True] * 20 + [False]

    play(story)


def test_turns_that_were_given_out_come_later_where_the_line_is_slowed_down():
    """Each refusal counts, and the order stays."""

    async def story(workers):
        one, other = workers.paces
        turns = [await one.take(PACE) for _ in range(100)]
        await one.slow_down(PACE, 0.2)
        await other.slow_down(PACE, 0.2)
        last = await other.look(PACE, turns[-1].place)
        assert last.due == pytest.approx(turns[-1].due + 0.4)
        following = await one.take(PACE)
        assert following.due == pytest.approx(last.due + 0.05)

    play(story, 2)


def test_of_many_stops_for_one_reason_one_counts():
    """GitHub tells each of many workers to wait until the same moment."""

    async def story(workers):
        turns = [await workers.paces[0].take(PACE) for _ in range(100)]
        for paces in workers.paces:
            workers.clock[0] += 1
            await paces.stop(PACE, 1800 - (workers.now() - START))
        found = await workers.paces[0].look(PACE, turns[-1].place)
        assert found.due == pytest.approx(turns[-1].due + 1799, abs=0.1)
        workers.clock[0] += 3600
        await workers.paces[0].stop(PACE, 60)
        again = await workers.paces[0].look(PACE, turns[-1].place)
        assert again.due == pytest.approx(found.due + 60, abs=0.1)

    play(story, 5)


def test_a_line_that_nobody_stands_in_is_stopped_too():
    """The first turn comes when the stop ends; a line that nobody has used cannot be slow."""

    async def story(workers):
        (paces,) = workers.paces
        await paces.slow_down(PACE, 60)
        assert (await paces.take(PACE)).due <= START
        for name in ("never used", PACE.name):
            line = Pace(name, 20, 20)
            await paces.stop(line, 60)
            dues = [(await paces.take(line)).due - START for _ in range(3)]
            assert dues == pytest.approx([60.05, 60.1, 60.15], abs=1)
            workers.clock[0] += 3600
            await paces.stop(line, 600)
            assert (await paces.take(line)).due == pytest.approx(workers.now() + 600.05)
            workers.clock[0] = START

    play(story)


def test_a_turn_that_does_not_come_at_once_is_not_taken():
    """So a line that nobody waits in does not grow."""

    async def story(workers):
        line = Pace("DeleteParameter", rate=1, burst=5)
        granted = [await workers.paces[number % 2].take_now(line) for number in range(50)]
        assert granted == [True] * 5 + [False] * 45
        workers.clock[0] += 1
        assert [await workers.paces[0].take_now(line) for _ in range(2)] == [True, False]

    play(story, 2)
