"""Lost deliveries are sent again: which, how often, and by whose webhook."""

import pytest

from launcher.record.launch import Launch
from launcher.sweep.repairs.deliveries import ATTEMPTS, Deliveries
from launcher.work.queued import launch_id
from tests.unit.launcher.sweep.hub_scene import HOOK_URL, play, repair, told
from tests.unit.launcher.sweep.scene import make_demand

KINDS = ("app", "organization", "repository")
LATER = 300.0


def make(stage):
    """Make the repair."""
    return Deliveries(stage.around, HOOK_URL)


def attempts(scene, action="queued"):
    """Return the deliveries of an action, oldest first."""
    return [each for each in scene.world.hooks.deliveries if each.action == action]


async def know_repository(stage):
    """Let the table know a job of the repository, so that its webhooks are looked for."""
    demand = make_demand(999_999)
    id_ = launch_id("default", demand)
    launch = Launch(id_, "small", demand.to_json(), stage.scene.now(), served=True, ended=True)
    await stage.around.records.release(launch)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_delivery_is_sent_again_by_its_own_webhook(kind):
    """With its GUID; and not once more when it was taken."""

    async def story(stage):
        scene = stage.scene
        await know_repository(stage)
        job = await scene.queue_job("small")
        scene.later, scene.taken = LATER, True
        (result,) = told(await repair(stage, make(stage)))
        assert result[1:] == ("sent again", "")
        await scene.wait_for_answers()
        first, second = attempts(scene)
        assert (first.guid, first.status_code) == (second.guid, 502)
        assert second.status_code == 202
        scene.later *= 2
        assert told(await repair(stage, make(stage))) == []
        assert job.state == "queued"

    play(story, kind)


@pytest.mark.parametrize(
    "why", ["a record", "done", "fresh", "not ours", "refused", "another event", "trial"]
)
def test_a_delivery_that_nobody_misses_is_not_sent_again(why):
    """Its job is known or over, it is under way, no pool has its labels, it was refused."""

    async def story(stage):
        scene = stage.scene
        job = await scene.queue_job("gpu" if why == "not ours" else "small")
        if why == "a record":
            demand = make_demand(
                job.id, repository_id=attempts(scene)[0].payload["repository"]["id"]
            )
            launch = Launch(launch_id("default", demand), "small", demand.to_json(), 0.0)
            await stage.around.records.release(launch)
        if why == "done":
            scene.world.cancel(job)
        if why == "refused":
            attempts(scene)[0].status_code = 403
        if why == "another event":
            attempts(scene)[0].event = "workflow_run"
        scene.later = 0.0 if why == "fresh" else LATER
        report = await repair(stage, make(stage), dry_run=why == "trial")
        assert [each[1] for each in told(report)] == (
            ["would be sent again"] if why == "trial" else []
        )
        assert len(attempts(scene)) == 1

    play(story)


def test_a_delivery_is_sent_again_a_few_times_and_then_told():
    """It is the webhook that has to be mended: the report says so."""

    async def story(stage):
        scene = stage.scene
        await scene.queue_job("small")
        for number in range(1, ATTEMPTS):
            scene.later = number * LATER
            scene.world.hooks._now = scene.now
            assert [each[1] for each in told(await repair(stage, make(stage)))] == ["sent again"]
            await scene.wait_for_answers()
        scene.later += LATER
        report = await repair(stage, make(stage))
        assert [each[1:] for each in told(report)] == [("kept", f"{ATTEMPTS} attempts failed")]
        assert report.results[0].failed
        assert len(attempts(scene)) == ATTEMPTS

    play(story)


def test_one_attempt_that_was_taken_is_enough_also_where_a_later_one_failed():
    """Attempts belong together by their GUID; a page holds a hundred."""

    async def story(stage):
        scene = stage.scene
        await scene.queue_job("small")
        (first,) = attempts(scene)
        scene.taken = True
        scene.world.hooks.redeliver(first)
        await scene.wait_for_answers()
        for _ in range(150):
            scene.world.hooks.redeliver(scene.world.hooks.deliveries[0])  # pings
        await scene.wait_for_answers()
        scene.taken = False
        scene.world.hooks.redeliver(first)
        await scene.wait_for_answers()
        scene.later = LATER
        assert told(await repair(stage, make(stage))) == []

    play(story)


def test_without_an_app_and_without_the_webhook_s_url_it_says_what_it_leaves_out():
    """Nobody knows which of an organization's webhooks is ours."""

    async def story(stage):
        report = await repair(stage, Deliveries(stage.around, None))
        assert report.uncovered == [
            "lost deliveries: no App, and LAUNCHER_WEBHOOK_URL names no webhook"
        ]

    play(story, "repository")


def test_a_missing_permission_is_told():
    """An App that may not look at an organization's webhooks; its own is looked at all the same."""

    async def story(stage):
        await know_repository(stage)
        await stage.scene.queue_job("small")
        stage.scene.later = LATER
        report = await repair(stage, make(stage))
        assert [each[1] for each in told(report)] == ["sent again"]
        (left,) = report.uncovered
        assert left.startswith("webhooks: cannot GET /orgs/octo/hooks")
        assert "403" in left

    play(story)


def test_without_a_table_nobody_takes_webhooks():
    """Then there is nothing to look for."""

    async def story(stage):
        report = await repair(stage, make(stage))
        assert (report.results, report.uncovered) == ([], [])

    play(story, table=False)
