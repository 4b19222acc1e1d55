"""What GitHub tells of jobs, in whatever order, and what becomes of runners that others took."""

import pytest
from structlog.testing import capture_logs

from launcher.places import Later, Why
from sidecar import github
from tests.unit.launcher.work.scene import POOLS, arn, make_demand, play
from tests.unit.launcher.work.test_stories import find, finish


def cancel(number=1, **more):
    """Make the demand that tells of a cancelled job."""
    return make_demand(number, "completed", conclusion="cancelled", **more)


# ---- cancelled ---------------------------------------------------------------------------------


def test_a_cancelled_job_s_runner_goes_first_then_its_task_and_token():
    """So no other job gets a runner whose task is about to end."""

    async def story(scene):
        launch = await scene.begin()
        order = []
        stop, delete = scene.tasks.stop, scene.hub.delete

        async def stop_task(task, reason):
            order.append("task")
            await stop(task, reason)

        async def delete_runner(number):
            order.append("runner")
            await delete(number)

        scene.tasks.stop, scene.hub.delete = stop_task, delete_runner
        await scene.send(cancel())
        assert order == ["runner", "task"]
        assert scene.parameters.held == {}
        await scene.send(scene.tasks.end(launch.place, 16))
        await scene.wait(400)
        assert (await scene.launch()).given_up == "its job is completed: cancelled"
        await scene.check_nothing_left()

    play(story)


def test_a_cancelled_job_s_runner_that_has_another_job_is_left():
    """It ends with that job: 422 at GitHub."""

    async def story(scene):
        launch = await scene.begin()
        scene.hub.set_runner(launch.runner_name, online=True, busy=True)
        await scene.send(cancel())
        assert scene.tasks.living == [launch.place]
        scene.hub.remove(launch.runner_name)
        await scene.send(scene.tasks.end(launch.place, 0))
        await scene.wait(400)
        await scene.check_nothing_left()

    play(story)


def test_the_event_of_an_end_that_was_lost_is_not_missed():
    """The message comes back and looks."""

    async def story(scene):
        launch = await scene.begin()
        await scene.send(cancel())
        scene.tasks.end(launch.place, 16)
        await scene.wait(400)
        assert (await scene.launch()).ended
        await scene.check_nothing_left()

    play(story)


def test_a_job_that_is_cancelled_before_it_is_told_starts_nothing():
    """`queued` comes after `completed`."""

    async def story(scene):
        await scene.send(cancel())
        await scene.send(make_demand())
        assert scene.tasks.sent == []
        assert await scene.records.count("pool/small") == 0

    play(story)


def test_a_request_whose_answer_was_lost_is_settled_before_the_launch_ends():
    """Its task is stopped, not forgotten."""

    async def story(scene):
        start = scene.tasks.start

        async def lose(request):
            scene.tasks.start = start
            await start(request)
            raise github.TransientError("the worker's network is gone")

        scene.tasks.start = lose
        with pytest.raises(github.TransientError):
            await scene.send(make_demand())
        await scene.send(cancel())
        assert scene.tasks.stops[0][0] == arn(1)

    play(story)


# ---- out of order ------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", [None, "somebody-else"])
def test_a_job_that_runs_elsewhere_starts_nothing(runner):
    """`in_progress` comes before `queued`."""

    async def story(scene):
        await scene.send(make_demand(1, "in_progress", runner_name=runner, runner_id=1))
        await scene.send(make_demand())
        assert scene.tasks.sent == []

    play(story)


def test_all_messages_twice_are_one_launch():
    """Each delivery again, each event again."""

    async def story(scene):
        send = scene.send

        async def twice(body, **message):
            await send(body, **message)
            return await send(body, **message)

        scene.send = twice
        launch = await scene.begin()
        await scene.boot()
        await scene.run(1, launch.runner_name)
        await scene.complete(1, launch.runner_name, launch.place)
        await scene.wait(900)
        assert len(scene.tasks.sent) == 1
        await scene.check_nothing_left()

    play(story)


def test_in_progress_that_was_lost_is_told_by_completed():
    """The runner's name is in it."""

    async def story(scene):
        launch = await scene.begin()
        await scene.boot()
        await scene.complete(1, launch.runner_name, launch.place)
        await scene.wait(400)
        assert (await scene.launch()).served
        await scene.check_nothing_left()

    play(story)


def test_in_progress_that_comes_after_all_else_leaves_no_launch_open():
    """The job took another one's runner; its end and its task's were told first."""

    async def story(scene):
        await scene.begin(1)
        other = await scene.begin(2)
        runner = other.runner_name
        scene.hub.jobs[1] = {"status": "completed", "runner_name": runner, "conclusion": "success"}
        scene.hub.jobs[2] = {"status": "queued"}
        mine = await scene.launch(1)
        await scene.send(make_demand(1, "completed", conclusion="success"))
        await scene.send(scene.tasks.end(mine.place, 16))
        await scene.wait(400)
        assert (await scene.launch(1)).ended
        scene.hub.remove(runner)
        scene.tasks.end(other.place, 0)  # its event is lost
        await scene.send(make_demand(1, "in_progress", runner_name=runner))
        assert (await scene.launch(1)).served
        await scene.wait(400)
        assert (await scene.launch(1)).ended
        assert await scene.records.count("pool/small") == 1  # the other job's

    play(story)


def test_a_runner_s_end_before_its_job_is_told_is_looked_up():
    """All deliveries were lost: the job is over, and no second task is started."""

    async def story(scene):
        launch = await scene.begin()
        scene.parameters.held.clear()
        scene.hub.remove(launch.runner_name)
        scene.hub.jobs[1] = {"status": "completed", "runner_name": launch.runner_name}
        await scene.send(scene.tasks.end(launch.place, 0))
        await scene.wait(400)
        assert (await scene.launch()).served
        assert len(scene.tasks.sent) == 1
        await scene.check_nothing_left()

    play(story)


def test_a_re_run_is_a_job_of_its_own():
    """`completed` of the earlier attempt comes again, and does nothing."""

    async def story(scene):
        await scene.begin(1)
        await finish(scene, 1)
        again = await scene.begin(2)
        await scene.send(cancel(1))
        assert scene.tasks.living == [again.place]
        await finish(scene, 2)

    play(story)


# ---- approvals ---------------------------------------------------------------------------------


def test_a_job_that_waits_for_an_approval_gets_a_new_task_after_it():
    """queued, waiting, hours, queued: never two tasks."""

    async def story(scene):
        launch = await scene.begin()
        scene.hub.jobs[1] = {"status": "waiting"}
        await scene.send(make_demand(1, "waiting"))
        assert scene.tasks.living == []
        await scene.send(scene.tasks.end(launch.place, 16))
        await scene.wait(6 * 3600)
        assert scene.queue == []
        scene.hub.jobs[1] = {"status": "queued"}
        await scene.send(make_demand(1, delivery="approved"))
        launch = await scene.launch()
        assert (launch.place, launch.tries, launch.failures) == (arn(2), 2, 0)
        await finish(scene)

    play(story)


def test_a_late_waiting_takes_nothing_from_a_job_that_was_approved():
    """GitHub is asked, since the delivery may be old."""

    async def story(scene):
        launch = await scene.begin()
        scene.hub.jobs[1] = {"status": "queued"}
        await scene.send(make_demand(1, "waiting"))
        assert scene.tasks.living == [launch.place]

    play(story)


def test_an_approval_while_the_task_is_stopped_waits_for_its_end():
    """Two tasks for one job never live at once."""

    async def story(scene):
        launch = await scene.begin()
        scene.hub.jobs[1] = {"status": "waiting"}
        await scene.send(make_demand(1, "waiting"))
        scene.hub.jobs[1] = {"status": "queued"}
        await scene.send(make_demand(1, delivery="approved"))
        assert len(scene.tasks.sent) == 1
        await scene.send(scene.tasks.end(launch.place, 16))
        await scene.wait(15)
        assert scene.tasks.living == [arn(2)]
        await finish(scene)

    play(story)


# ---- thefts ------------------------------------------------------------------------------------


def test_thefts_among_equals_are_swaps():
    """Each job's runner has taken the other's job: nothing is started."""

    async def story(scene):
        first, second = await scene.begin(1), await scene.begin(2)
        await scene.boot(1)
        await scene.boot(2)
        await scene.run(1, second.runner_name)
        await scene.run(2, first.runner_name)
        assert len(scene.tasks.sent) == 2
        await scene.complete(1, second.runner_name, second.place)
        await scene.complete(2, first.runner_name, first.place)
        await scene.wait(900)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 2

    play(story)


def test_a_runner_whose_job_another_has_serves_the_job_that_lost_its_own():
    """One `in_progress` only, so far: the job that lost its runner owns the free one."""

    async def story(scene):
        first, second = await scene.begin(1), await scene.begin(2)
        await scene.run(2, first.runner_name)
        lost = await scene.launch(1)
        assert (lost.place, lost.runner_name) == (second.place, second.runner_name)
        assert (lost.thefts, (await scene.launch(2)).place) == (0, first.place)
        await scene.wait(60)
        assert len(scene.tasks.sent) == 2

    play(story)


def test_a_swap_gives_no_task_to_a_launch_that_wants_none():
    """The job whose runner was taken is cancelled before anybody tells of the theft."""

    async def story(scene):
        first, second = await scene.begin(1), await scene.begin(2)
        scene.hub.set_runner(first.runner_name, online=True, busy=True)
        scene.hub.jobs[2] = {"status": "in_progress", "runner_name": first.runner_name}
        await scene.send(cancel(1))
        settled = await scene.launch(1)
        assert settled.settled
        await scene.run(2, first.runner_name)
        assert [task for task, _ in scene.tasks.stops] == [second.place]
        await scene.send(scene.tasks.end(second.place, 16))
        await scene.wait(60)
        assert (await scene.launch(1)).place is None
        assert (await scene.launch(2)).place == first.place
        await scene.complete(2, first.runner_name, first.place)
        await scene.wait(900)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 2

    play(story)


def test_a_task_whose_answer_was_lost_ends_when_its_job_runs_elsewhere():
    """The job has taken another one's runner before its own task was known."""

    async def story(scene):
        first = await scene.begin(1)
        start = scene.tasks.start

        async def lose(request):
            scene.tasks.start = start
            await start(request)
            raise github.TransientError("the worker's network is gone")

        scene.tasks.start = lose
        with pytest.raises(github.TransientError):
            await scene.send(make_demand(2))
        assert (await scene.launch(2)).place is None
        await scene.run(2, first.runner_name)
        assert [task for task, _ in scene.tasks.stops] == [arn(2)]
        await scene.send(scene.tasks.end(arn(2), 16))
        await scene.wait(60)
        assert (await scene.launch(2)).place == first.place
        await scene.complete(2, first.runner_name, first.place)
        await finish(scene)

    play(story)


def test_only_the_deficit_is_started():
    """A job that nobody had told took the runner: one more task is needed, and only one."""

    async def story(scene):
        first = await scene.begin(1)
        with capture_logs() as events:
            await scene.run(5, first.runner_name)
        assert find(events, "launch.stolen")[0]["swapped"] is False
        launch = await scene.launch(1)
        assert (launch.place, launch.thefts) == (arn(2), 1)
        assert await scene.records.count("pool/small") == 2
        await scene.send(make_demand(5))
        await scene.wait(50)
        assert len(scene.tasks.sent) == 2
        await scene.complete(5, first.runner_name, first.place)
        await finish(scene)

    play(story)


def test_a_job_of_another_kind_is_no_swap():
    """The task with other labels ends; the job that lost its runner gets a new one."""
    both = POOLS + POOLS.replace('"small"', '"large"').replace('["large"]', '["small", "large"]')

    async def story(scene):
        large = await scene.begin_of(make_demand(1, labels=("small", "large")))
        small = await scene.begin(2)
        await scene.run(2, large.runner_name)
        assert small.place not in scene.tasks.living
        await scene.send(scene.tasks.end(small.place, 16))
        await scene.wait(60)
        launch = await scene.launch(1)
        assert (launch.place, launch.pool) == (arn(3), "large")

    play(story, both)


def test_more_than_three_thefts_are_given_up_loudly():
    """Somebody else's jobs ask for these labels too."""

    async def story(scene):
        launch = await scene.begin(1)
        with capture_logs() as events:
            for number in range(11, 15):
                await scene.run(number, launch.runner_name)
                await scene.complete(number, launch.runner_name, launch.place)
                launch = await scene.launch(1)
        (given_up,) = find(events, "launch.given_up")
        assert "other jobs took 4 of its runners" in given_up["reason"]
        await scene.wait(400)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 4

    play(story)


def test_a_theft_that_nobody_told_is_seen_when_the_task_ends_well():
    """The job is still queued: the next try is a theft, not a fault."""

    async def story(scene):
        launch = await scene.begin()
        scene.parameters.held.clear()
        scene.hub.remove(launch.runner_name)
        scene.hub.jobs[1] = {"status": "queued"}
        await scene.send(scene.tasks.end(launch.place, 0))
        assert len(scene.tasks.sent) == 1  # the news of the job that took it may be late
        await scene.wait(40)
        launch = await scene.launch()
        assert (launch.place, launch.thefts, launch.failures) == (arn(2), 1, 0)
        await finish(scene)

    play(story)


def test_a_task_that_ends_before_the_news_of_its_job_is_swapped_too():
    """The busy queue has the event of the end first: nothing is started for it."""

    async def story(scene):
        first, second = await scene.begin(1), await scene.begin(2)
        scene.hub.jobs[1] = {"status": "queued"}
        scene.parameters.held.pop(first.place)
        scene.hub.remove(first.runner_name)
        await scene.send(scene.tasks.end(first.place, 0))
        news = {"conclusion": "success", "runner_name": first.runner_name, "runner_id": 1}
        await scene.send(make_demand(2, "completed", **news))
        launch = await scene.launch(1)
        assert (launch.place, launch.runner_name) == (second.place, second.runner_name)
        await scene.wait(60)
        assert (await scene.launch(2)).ended
        assert len(scene.tasks.sent) == 2
        assert scene.tasks.stops == []
        await scene.run(1, second.runner_name)
        await scene.complete(1, second.runner_name, second.place)
        await scene.wait(900)
        await scene.check_nothing_left()

    play(story)


def test_a_theft_that_a_look_up_tells_is_a_swap():
    """The job's own message finds it on another's runner: the free task stays, for that one."""

    async def story(scene):
        first, second = await scene.begin(1), await scene.begin(2)
        await scene.boot(1)
        await scene.boot(2)
        await scene.wait(130)
        scene.hub.set_runner(first.runner_name, busy=True)
        scene.hub.jobs[1] = {"status": "queued"}
        scene.hub.jobs[2] = {"status": "in_progress", "runner_name": first.runner_name}
        await scene.wait(900)
        launch = await scene.launch(1)
        assert (launch.place, launch.runner_name) == (second.place, second.runner_name)
        assert (await scene.launch(2)).served
        assert scene.tasks.stops == []
        assert len(scene.tasks.sent) == 2

    play(story)


@pytest.mark.parametrize("news", [(2, 3), (3, 2)])
@pytest.mark.parametrize("ends", [(1, 2), (2, 1)])
def test_the_task_at_the_end_of_a_chain_serves_the_job_at_its_beginning(ends, news):
    """Job 3 ran on runner 2, job 2 on runner 1; both tasks end before anybody tells of the jobs."""

    async def story(scene):
        launches = {number: await scene.begin(number) for number in (1, 2, 3)}
        scene.hub.jobs[1] = {"status": "queued"}
        done = {"status": "completed", "conclusion": "success"}
        for number in (2, 3):
            on = launches[number - 1]
            scene.parameters.held.pop(on.place)
            scene.hub.remove(on.runner_name)
            scene.hub.jobs[number] = done | {"runner_name": on.runner_name}
        for number in ends:
            await scene.send(scene.tasks.end(launches[number].place, 0))
        for number in news:
            told = {"conclusion": "success", "runner_name": launches[number - 1].runner_name}
            await scene.send(make_demand(number, "completed", **told))
        await scene.wait(60)
        assert (await scene.launch(1)).place == launches[3].place
        await scene.run(1, launches[3].runner_name)
        await scene.complete(1, launches[3].runner_name, launches[3].place)
        await scene.wait(900)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 3
        assert scene.tasks.stops == []

    play(story)


@pytest.mark.parametrize("action", ["in_progress", "completed"])
def test_a_death_before_the_place_is_given_back_leaves_none_taken(action):
    """The job waited for capacity, and ran on a task that had ended when anybody told of it."""

    async def story(scene):
        first = await scene.begin(1)
        scene.tasks.answers = [Later(Why.CAPACITY, "none")]
        await scene.send(make_demand(2))
        assert await scene.records.count("pool/small") == 2
        done = {"status": "completed", "conclusion": "success"}
        scene.hub.jobs[1] = done | {"runner_name": "somebody-s"}
        scene.hub.jobs[2] = done | {"runner_name": first.runner_name}
        scene.hub.remove(first.runner_name)
        await scene.send(scene.tasks.end(first.place, 0))
        give = scene.records.give_places

        async def die(launch):
            del launch
            raise github.TransientError("the worker dies")

        news = make_demand(2, action, conclusion="success", runner_name=first.runner_name)
        scene.records.give_places = die
        with pytest.raises(github.TransientError):
            await scene.send(news)
        assert (await scene.launch(2)).ended
        scene.records.give_places = give
        await scene.send(news, received=2)
        await scene.wait(900)
        await scene.check_nothing_left()

    play(story)


def test_a_job_that_lost_its_runner_and_has_another_gets_no_task():
    """It runs on a runner that is not ours: GitHub is asked before its next try."""

    async def story(scene):
        first = await scene.begin(1)
        scene.hub.jobs[1] = {"status": "in_progress", "runner_name": "somebody-s"}
        await scene.run(5, first.runner_name)
        assert (await scene.launch(1)).given_up == "its job is in_progress on somebody-s"
        await scene.complete(5, first.runner_name, first.place)
        await scene.wait(900)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 1

    play(story)
