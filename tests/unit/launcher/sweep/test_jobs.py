"""Jobs that nobody serves come to the workers again: of the table, and of GitHub."""

import json
from dataclasses import replace

import pytest

from launcher.demand.delivery import Demand
from launcher.demand.order import Order
from launcher.record.launch import Launch
from launcher.sweep.repairs.deliveries import Deliveries
from launcher.sweep.repairs.jobs import LostJobs
from launcher.work.ending import WAITS
from launcher.work.queued import launch_id
from tests.unit.launcher.sweep.hub_scene import play, read, repair, told
from tests.unit.launcher.sweep.scene import REPOSITORY, make_demand

ARN = "arn:aws:ecs:eu-central-1:123456789012:task/runners/" + "1" * 32
HOUR = 3600.0


def make(stage):
    """Make the repair."""
    return LostJobs(stage.around, Deliveries(stage.around, None))


async def add_launch(stage, **more):
    """Write a launch's record."""
    demand = make_demand(more.pop("number", 1))
    launch = Launch(launch_id("default", demand), "small", demand.to_json(), stage.scene.now())
    return await stage.around.records.release(replace(launch, **more))


# --- launches of the table ------------------------------------------------------------------------


def test_a_launch_that_nobody_carries_on_comes_to_the_workers_again():
    """As a message that was put off: a new one would be left alone. And not twice in a row."""

    async def story(stage):
        launch = await add_launch(stage)
        assert told(await repair(stage, make(stage))) == []
        stage.scene.later = HOUR
        (result,) = told(await repair(stage, make(stage)))
        assert result[:2] == (f"launch {launch.id}", "sent again")
        (body,) = stage.scene.messages
        assert Demand.from_json(json.dumps(read(body))).job_id == 1
        (message,) = stage.scene.sqs.held.values()
        assert message.attributes["count"]["StringValue"] == "1"
        assert told(await repair(stage, make(stage))) == []

    play(story)


@pytest.mark.parametrize("state", ["held", "ended", "warm", "trial"])
def test_a_launch_that_is_carried_on_is_left_alone(state):
    """A worker holds it, it has ended, or every tick looks after it."""

    async def story(stage):
        if state == "warm":
            await add_launch(stage, number=0)
        else:
            await add_launch(
                stage, ended=state == "ended", given_up="x" if state == "ended" else None
            )
        stage.scene.later = HOUR
        if state == "held":
            (entry,) = (await stage.around.records.read_all()).entries.values()
            kept = stage.scene.later
            stage.scene.later = kept - 30  # half a minute ago
            await stage.around.records.claim(entry.launch)
            stage.scene.later = kept
            item = stage.scene.table.items[f"launch#{entry.launch.id}"]
            item["expires"]["N"] = str(int(float(item["expires"]["N"]) - HOUR))
        report = await repair(stage, make(stage), dry_run=state == "trial")
        wanted = ["would be sent again"] if state == "trial" else []
        assert [each[1] for each in told(report)] == wanted
        assert stage.scene.messages == []

    play(story)


@pytest.mark.parametrize("place", [ARN, "i-" + "1" * 17])
def test_the_lost_end_of_a_task_is_told_the_workers(place):
    """Its launch keeps its place in the pool until somebody says that it has ended."""

    async def story(stage):
        await add_launch(stage, place=place, served=True)
        stage.scene.later = 0.5 * HOUR
        report = await repair(stage, make(stage))
        (result,) = told(report)
        assert result[1] == "sent again"
        (body,) = stage.scene.messages
        detail = read(body)["detail"]
        assert place in (detail.get("taskArn"), detail.get("instance-id"))

    play(story)


# --- jobs of GitHub -------------------------------------------------------------------------------


def test_a_queued_job_without_a_record_comes_to_the_workers():
    """Its delivery never came, and GitHub knows of no failed one."""

    async def story(stage):
        scene, made = stage.scene, make(stage)
        await add_launch(stage, number=999, served=True, ended=True)
        job = await scene.queue_job("self-hosted", "small", name="build")
        await scene.queue_job("ubuntu-latest")
        done = await scene.queue_job("small")
        scene.world.cancel(done)
        assert told(await repair(stage, made)) == []  # its webhook may be late
        scene.later = 600
        report = await repair(stage, made)
        assert [each[:2] for each in told(report)] == [
            (f"job {job.id} of {REPOSITORY}", "sent again")
        ]
        (body,) = scene.messages
        demand = Demand.from_json(json.dumps(read(body)))
        (sent,) = scene.world.hooks.of_job(job.id, "queued")
        assert demand.repository_id == sent.payload["repository"]["id"]
        assert (demand.job_id, demand.run_id) == (job.id, job.run.id)
        assert demand.labels == ("self-hosted", "small")
        assert demand.organization == "octo"
        assert told(await repair(stage, made)) == []  # the workers have it now

    play(story)


@pytest.mark.parametrize(("given_up", "is_sent"), [(WAITS, True), ("no pool", False)])
def test_a_job_that_is_queued_again_after_its_wait_comes_to_the_workers(given_up, is_sent):
    """Its launch ended when it began to wait, and the second delivery is lost."""

    async def story(stage):
        scene, made = stage.scene, make(stage)
        await add_launch(stage, number=999, served=True, ended=True)
        job = await scene.queue_job("small", name="deploy")
        (sent,) = scene.world.hooks.of_job(job.id, "queued")
        known = {"repository_id": sent.payload["repository"]["id"], "run_id": job.run.id}
        demand = make_demand(job.id, **known)
        launch = Launch(launch_id("default", demand), "small", demand.to_json(), scene.now())
        await stage.around.records.release(replace(launch, given_up=given_up, ended=True))
        scene.later = 600
        outcomes = [each[1] for each in told(await repair(stage, made))]
        assert outcomes == (["sent again"] if is_sent else [])

    play(story)


def test_what_has_not_changed_costs_nothing():
    """The second look gets 304 for each list."""

    async def story(stage):
        scene, made = stage.scene, make(stage)
        await add_launch(stage, number=999, served=True, ended=True)
        await scene.queue_job("gpu", name="build")
        scene.later = 600
        await repair(stage, made)
        left, calls = scene.world.settings.rate_remaining, scene.world.calls["list-runs"]
        await repair(stage, made)
        assert scene.world.calls["list-runs"] == calls + 2
        assert scene.world.settings.rate_remaining == left

    play(story)


def test_no_more_than_a_tenth_of_the_calls_is_used_and_what_is_left_out_is_told():
    """Of a limit of 60 calls an hour it takes one at a time, and looks elsewhere the next time."""

    async def story(stage):
        scene, made = stage.scene, make(stage)
        scene.world.settings.rate_limit = 60
        await add_launch(stage, number=999, served=True, ended=True)
        await (await stage.around.hub.api(f"{scene.served.url}/{REPOSITORY}")).call(
            "GET", f"/repos/{REPOSITORY}/actions/runs?status=queued", expects={200: None}
        )
        before = scene.world.calls["list-runs"]
        scene.later = 600
        report = await repair(stage, made)
        assert report.uncovered == [
            "queued jobs of 1 repositories: a tenth of GitHub's calls of this hour is used up"
        ]
        assert scene.world.calls["list-runs"] - before <= 2

    play(story)


def test_the_last_fifth_of_the_calls_is_for_others_and_what_is_left_out_is_told():
    """Workers need them to start runners; the job is sent when GitHub has calls again."""

    async def story(stage):
        scene, made = stage.scene, make(stage)
        await add_launch(stage, number=999, served=True, ended=True)
        await scene.queue_job("small", name="build")
        scene.later = 600
        scene.world.settings.rate_remaining = 900
        report = await repair(stage, made)
        (left,) = report.uncovered
        assert left.startswith("jobs that may have lost their message: GitHub's limit: ")
        assert (told(report), scene.messages) == ([], [])
        scene.world.settings.rate_remaining = 4000
        report = await repair(stage, made)
        assert [each[1] for each in told(report)] == ["sent again"]
        assert report.uncovered == []

    play(story)


def test_an_order_that_nobody_looks_after_is_opened_again():
    """The process that took it has ended, and no event tells of its machine."""

    async def story(stage):
        order = make_demand(0, order=Order("octo", 5))
        launch = Launch("order-2", "small", order.to_json(), stage.scene.now())
        await stage.around.records.release(replace(launch, counters=("pool/small",)))
        assert told(await repair(stage, make(stage))) == []
        stage.scene.later = 0.5 * HOUR
        (result,) = told(await repair(stage, make(stage)))
        assert result[:2] == ("launch order-2", "sent again")
        assert await stage.around.records.list_open_orders() == ["order-2"]

    play(story)


def test_without_queue_or_pools_it_says_what_it_leaves_out():
    """Nobody would take the jobs, or nobody knows whose they are."""

    async def story(stage):
        report = await repair(stage, make(stage))
        wanted = "LAUNCHER_POOLS" if stage.around.queue else "LAUNCHER_QUEUE_URL"
        (left,) = report.uncovered
        assert left.endswith(f"{wanted} is not set")

    play(story, pools=None)
    play(story, queue=False)
