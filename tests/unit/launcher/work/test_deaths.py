"""Workers that die at any line: what goes on knows the table and the world alone."""

import itertools

import pytest

from tests.unit.launcher.work.scene import make_demand, play

CANNOT_PULL = "TaskFailedToStart: CannotPullContainerError: not found"


class Killed(BaseException):
    """The worker's process is killed."""


class Death:
    """Kills the worker before or after its n-th call of anything outside."""

    def __init__(self, scene, number, *, after):
        self.left = number
        self.after = after
        self.dead = False
        table = scene.records._calls._client.table
        for owner, names in (
            (scene.tasks, ("start", "look", "stop")),
            (scene.parameters, ("write", "exists", "delete")),
            (scene.hub, ("create_jit_config", "find", "get", "delete")),
            (table, ("get_item", "update_item", "transact_write_items")),
        ):
            for name in names:
                setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, call):
        """Count the calls; one of them is the last."""

        async def counted(*args, **kwargs):
            if self.dead:
                return await call(*args, **kwargs)
            self.left -= 1
            if self.left == 0 and not self.after:
                self.dead = True
                raise Killed
            answer = await call(*args, **kwargs)
            if self.left == 0:
                self.dead = True
                raise Killed
            return answer

        return counted


async def go_on(scene, body, number, *, after):
    """Send a message; where the worker dies on it, another one gets it, after its lease.

    False: the message took fewer calls than `number`.
    """
    death = Death(scene, number, after=after)
    try:
        await scene.send(body)
        death.dead = True
    except Killed:
        scene.worker = scene.make_worker()
        scene.clock[0] += 1
        first_seen = scene.now() - 1
        await scene.send(body, received=2, first_seen=first_seen, sent=first_seen)
        await scene.wait(130)
        return True
    return False


def told(scene, number, runner):
    """Let a runner take a job, and return what GitHub tells of it."""
    held = scene.parameters.held
    scene.parameters.held = {key: it for key, it in held.items() if key[-32:] not in runner}
    scene.hub.set_runner(runner, online=True, busy=True)
    scene.hub.jobs[number] = {"status": "in_progress", "runner_name": runner}
    return make_demand(number, "in_progress", runner_name=runner, runner_id=1)


async def queue(scene):
    """Queue a job."""
    del scene
    return make_demand()


async def take(scene):
    """Let the job's own runner take it."""
    launch = await scene.begin()
    return told(scene, 1, launch.runner_name)


async def fail(scene):
    """Let the job's task end too early."""
    launch = await scene.begin()
    return scene.tasks.end(launch.place, None, CANNOT_PULL)


async def steal(scene):
    """Let the job's runner take another job, which has a runner too."""
    launch = await scene.begin()
    await scene.begin(2)
    scene.hub.jobs[2] = {"status": "queued"}
    return told(scene, 2, launch.runner_name)


async def steal_unheard(scene):
    """Let the job's runner take a job that nobody has told."""
    launch = await scene.begin()
    return told(scene, 2, launch.runner_name)


async def live(scene, begin, number, *, after):
    """Live through a death at a message's call; False if the message took fewer calls."""
    scene.hub.jobs[1] = {"status": "queued"}
    body = await begin(scene)
    died = await go_on(scene, body, number, after=after)
    other = await scene.launch(2)
    if other is not None:
        await scene.complete(2, other.runner_name, other.place)
    launch = await scene.launch()
    if not launch.served:
        await scene.run(1, launch.runner_name)
    launch = await scene.launch()
    assert launch.served
    assert scene.tasks.living == [launch.place]
    await scene.complete(1, launch.runner_name, launch.place)
    await scene.wait(900)
    await scene.check_nothing_left()
    return died


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("begin", [queue, take, fail, steal, steal_unheard])
def test_a_worker_that_dies_at_any_line_loses_and_doubles_nothing(begin, after):
    """Each call of the worker is the last one once: before it is done, and after."""
    for number in itertools.count(1):
        if not play(lambda scene, number=number: live(scene, begin, number, after=after)):
            break
    assert number > 4


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_while_it_takes_back_a_cancelled_job_leaves_nothing(after):
    """At each of its calls."""

    async def cancel(scene, number):
        await scene.begin()
        scene.hub.jobs[1] = {"status": "completed", "conclusion": "cancelled"}
        body = make_demand(1, "completed", conclusion="cancelled")
        died = await go_on(scene, body, number, after=after)
        for task in list(scene.tasks.states):
            await scene.send(scene.tasks.end(task, 16))
        await scene.wait(900)
        await scene.check_nothing_left()
        return died

    for number in itertools.count(1):
        if not play(lambda scene, number=number: cancel(scene, number)):
            break
    assert number > 4
