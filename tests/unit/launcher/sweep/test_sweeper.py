"""Sweeps follow one another: what is remembered, who sweeps, what a trial does."""

import asyncio

import pytest

from launcher.sweep.findings import Kind, Outcome
from sidecar.aws.calls import AwsError
from tests.unit.launcher.sweep.scene import PAUSE, TOKENS, pass_time, play, results, sweep_twice

ARN = "arn:aws:ecs:eu-central-1:123456789012:task/runners"


def test_another_process_goes_by_what_was_remembered_in_the_table():
    """A Lambda function's next copy ends what the one before has seen."""

    async def story(stage):
        names = [stage.scene.add_token(f"{ARN}/{each:032x}", age=600) for each in range(200)]
        first = await stage.make().sweep()
        assert first.count(Outcome.FOUND) == 200
        await pass_time(PAUSE)
        report = await stage.make().sweep()
        assert results(report) == {(Kind.TOKEN, name) for name in names}

    play(story, in_table=True)


def test_what_was_not_seen_in_between_is_seen_anew():
    """Two looks are two in a row: a task that came back was needed."""

    async def story(stage):
        place = f"{ARN}/{'1' * 32}"
        name = stage.scene.add_token(place, age=600)
        kept = stage.scene.ssm.parameters
        await stage.make().sweep()
        stage.scene.ssm.parameters = {}
        await pass_time(PAUSE)
        await stage.make().sweep()
        stage.scene.ssm.parameters = kept
        await pass_time(PAUSE)
        assert results(await stage.make().sweep(), Outcome.FOUND) == {(Kind.TOKEN, name)}

    play(story, in_table=True)


def test_one_process_sweeps_at_a_time():
    """The other one leaves it to that, unless it is dead for ten minutes."""

    async def story(stage):
        stage.scene.weather.latency = (1.0, 1.0)
        first, second = await asyncio.gather(stage.make().sweep(), stage.make().sweep())
        assert (first is None) != (second is None)
        assert await stage.make().sweep() is not None
        dead = asyncio.ensure_future(stage.make().sweep())
        await pass_time(3)
        stage.scene.table.items["sweep"]["holder"] = {"S": "a process that has died"}
        dead.cancel()
        await asyncio.gather(dead, return_exceptions=True)
        assert await stage.make().sweep() is None
        await pass_time(700)
        assert await stage.make().sweep() is not None

    play(story, in_table=True)


def test_without_its_memory_it_ends_nothing():
    """It cannot know what the look before has seen."""

    async def story(stage):
        stage.scene.add_token(f"{ARN}/{'1' * 32}", age=600)
        await stage.make().sweep()
        await pass_time(PAUSE)
        now = asyncio.get_running_loop().time()
        stage.scene.weather.outages["dynamodb"] = (now, now + 3600)
        with pytest.raises(AwsError):
            await stage.make().sweep()
        assert len(stage.scene.ssm.parameters) == 1

    play(story, in_table=True)


def test_a_trial_ends_nothing_and_says_what_it_would_end():
    """Nor does it write anything into the table."""

    async def story(stage):
        name = stage.scene.add_token(f"{ARN}/{'1' * 32}", age=600)
        report = await sweep_twice(stage)
        assert results(report, Outcome.WOULD_REMOVE) == {(Kind.TOKEN, name)}
        assert len(stage.scene.ssm.parameters) == 1
        assert stage.scene.table.items == {}

    play(story, dry_run=True)


def test_what_there_is_no_time_for_is_left_to_the_next_sweep():
    """It is not seen anew then."""

    async def story(stage):
        for number in range(400):
            stage.scene.add_token(f"{ARN}/{number:032x}", age=600)
        await stage.make().sweep()
        await pass_time(PAUSE)
        report = await stage.make().sweep(8.0)
        left = len(stage.scene.ssm.parameters)
        assert 0 < left < 400
        assert report.count(Outcome.FOUND) == pytest.approx(left, abs=10)
        assert report.uncovered == ["the rest: there was no time for it within 8 s"]
        report = await stage.make().sweep()
        assert stage.scene.ssm.parameters == {}

    play(story, in_table=True)


def test_what_cannot_be_ended_is_told_and_tried_again():
    """SSM refuses one call; the others go on."""

    async def story(stage):
        for number in range(20):
            stage.scene.add_token(f"{ARN}/{number:032x}", age=600)
        await stage.sweeper.sweep()
        await pass_time(PAUSE)
        delete = stage.scene.ssm.delete_parameters

        async def refuse(**given):
            if f"{TOKENS}/{0:032x}" in given["Names"]:
                raise AwsError("access denied (needs ssm:DeleteParameters)")
            return await delete(**given)

        stage.scene.ssm.delete_parameters = refuse
        report = await stage.sweeper.sweep()
        assert (report.count(Outcome.REMOVED), report.count(Outcome.KEPT)) == (10, 10)
        assert all(each.failed for each in report.results if each.outcome is Outcome.KEPT)
        stage.scene.ssm.delete_parameters = delete
        assert (await stage.sweeper.sweep()).count(Outcome.REMOVED) == 10

    play(story)
