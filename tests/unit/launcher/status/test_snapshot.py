"""All pools at one moment, from what a worker has written down."""

import asyncio
import json

import pytest

from launcher.places import Later, Why
from launcher.record.launch import Launch
from launcher.status import live
from launcher.status.snapshot import (
    ENDED,
    ENDING,
    IDLE,
    RUNNING,
    STARTING,
    WAITING,
    Around,
    find_stage,
    take_snapshot,
)
from launcher.status.table import show_json, show_text
from sidecar.aws.calls import AccessDenied
from tests.unit.launcher.work.scene import POOLS, make_demand, open_scene

FULL = Later(Why.CAPACITY, "cannot start a task: Capacity is unavailable at this time")


class Queue:
    """A queue of three messages."""

    async def count(self):
        """Count them."""
        return {"waiting": 2, "in flight": 1, "delayed": 0}


def make_around(scene, **more):
    """Make what is asked."""

    async def read_pools():
        return scene.pools

    return Around(scene.records, scene.now, **{"pools": read_pools, "queue": Queue(), **more})


def play(story, pools=POOLS):
    """Run a story, for 30 s at most."""
    asyncio.run(asyncio.wait_for(story(open_scene(pools)), 30))


@pytest.mark.parametrize(
    ("launch", "stage"),
    [
        ({}, WAITING),
        ({"request": "{}"}, WAITING),
        ({"place": "t"}, STARTING),
        ({"place": "t", "online": True}, IDLE),
        ({"place": "t", "online": True, "served": True}, RUNNING),
        ({"place": "t", "given_up": "x"}, ENDING),
        ({"given_up": "x"}, ENDED),
        ({"place": "t", "served": True, "ended": True}, ENDED),
    ],
)
def test_a_launch_is_in_one_stage(launch, stage):
    """As its record tells."""
    assert find_stage(Launch("l", "p", "", 1.0, **launch)) == stage


def test_pools_demand_and_limits_are_read(monkeypatch):
    """One runner runs, one starts, one job waits because there is no room."""

    async def story(scene):
        await scene.begin(1)
        await scene.boot(1)
        await scene.run(1, (await scene.launch(1)).runner_name)
        await scene.begin(2)
        scene.clock[0] += 10
        scene.tasks.answers = [FULL]
        await scene.send(make_demand(3))
        scene.clock[0] += 90

        async def ask_limit(repository):
            assert repository == "octo/app"
            return 0.5, 60

        shot = await take_snapshot(make_around(scene, maximum=9, ask_limit=ask_limit))
        (pool,) = shot.pools
        assert pool.counts == {RUNNING: 1, STARTING: 1, WAITING: 1}
        assert (pool.taken, pool.maximum) == (3, 3)
        assert shot.oldest == scene.now() - 90
        assert (shot.account, shot.github, shot.unseen) == ((0, 9), (0.5, 60), [])
        text = show_text(shot)
        assert "small  1        1         0     1        0       0        3/3     90 s" in text
        assert "FULL: its maximum is reached" in text
        assert "queue: 2 waiting, 1 in flight, 0 delayed" in text
        assert "oldest job without a task: first seen 90 s ago" in text
        assert "all pools together: 0 of 9 places" in text
        assert "GitHub's limit: 50% of the hour's calls are left; all again in 60 s" in text
        assert FULL.reason[:50] in text
        written = json.loads(show_json(shot))
        assert written["pools"][0]["running"] == 1
        assert written["queue"]["waiting"] == 2
        assert sorted(each["job"] for each in written["last"]) == [1, 2, 3]
        assert written["last"][0]["job"] == 3

    play(story)


def test_a_pool_that_fails_and_is_stopped_says_so():
    """Its faults, how many launches have had one, and for how long nothing is started."""

    async def story(scene):
        launch = await scene.begin(1)
        await scene.send(scene.tasks.end(launch.place, 13))
        for _ in range(5):
            await scene.records.pools.count_failure("small")
        seen = await scene.records.pools.read("small")
        await scene.records.pools.stop("small", seen, scene.now() + 60)
        shot = await take_snapshot(make_around(scene))
        assert shot.pools[0].failing == 1
        assert "STOPPED for 60 s: its last 6 tasks failed" in show_text(shot)
        assert json.loads(show_json(shot))["pools"][0]["stopped_until"] == scene.now() + 60

    play(story)


def test_what_cannot_be_asked_is_said_and_the_rest_is_shown():
    """A permission that is missing, and settings that are not there."""

    class Denied:
        async def count(self):
            raise AccessDenied("cannot count: access denied (needs sqs:GetQueueAttributes)")

    async def story(scene):
        await scene.begin(1)
        text = show_text(await take_snapshot(make_around(scene, queue=Denied(), pools=None)))
        assert "small  0        1" in text
        assert "1/?" in text
        assert "needs sqs:GetQueueAttributes" in text
        assert "set LAUNCHER_POOLS" in text
        assert "GitHub was not asked" in text
        nothing = show_text(await take_snapshot(make_around(open_scene(), queue=None, pools=None)))
        assert "no pool, and no launch that is not over" in nothing

    play(story)


def test_a_live_table_is_drawn_in_place_and_leaves_the_terminal_as_it_was():
    """It has a screen of its own, whatever ends it."""

    async def story(scene):
        await scene.begin(1)
        written, drawn = [], asyncio.Event()

        def write(text):
            written.append(text)
            if text.startswith(live.HOME) and len(written) > 2:
                drawn.set()

        showing = asyncio.create_task(live.show_live(make_around(scene), write, 0.01))
        await drawn.wait()
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        assert (written[0], written[-1]) == (live.ENTER, live.LEAVE)
        assert all(text.startswith(live.HOME) for text in written[1:-1])
        assert "small" in written[1]

    play(story)


def test_json_is_one_line_each_time():
    """For a program that reads them."""

    async def story(scene):
        lines, enough = [], asyncio.Event()

        def write(text):
            lines.append(text)
            if len(lines) == 2:
                enough.set()

        asking = asyncio.create_task(live.show_json_lines(make_around(scene), write, 0.01))
        await enough.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert all(json.loads(line)["pools"][0]["pool"] == "small" for line in lines[:2])

    play(story)
