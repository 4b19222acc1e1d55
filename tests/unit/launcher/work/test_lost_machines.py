"""Machines that are lost after their runner was online: they end, and their job gets another."""

import pytest
from structlog.testing import capture_logs

from launcher.work.limits import MARGIN
from local import ec2
from tests.unit.launcher.work.scene import make_demand
from tests.unit.launcher.work.test_machines import find, opened, play


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    """Give dummy credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")


async def stands_still(machine):
    """Say something, and then nothing more: the time limit of the system stands still too."""
    machine.say("INFO: task systemd:1 blocked for more than 120 seconds.")
    await ec2.run_for_ever(machine)


@pytest.mark.parametrize("is_offline", [True, False])
def test_a_machine_that_stands_still_before_its_job_is_ended(monkeypatch, is_offline):
    """An idle agent has ended long ago; a runner that GitHub still sees keeps its machine."""

    async def story():
        async with opened(monkeypatch, program=stands_still) as (scene, plane):
            scene.hub.jobs[1] = {"status": "queued"}
            launch = await scene.begin()
            await plane.wait_for(lambda: plane.machines[0].console)
            await scene.boot()
            await scene.wait(320)
            assert (await scene.launch()).online
            scene.hub.set_runner(launch.runner_name, online=not is_offline)
            await scene.wait(200 + MARGIN)
            (machine,) = plane.machines
            assert machine.state == "running"
            with capture_logs() as events:
                await scene.wait(400)
            if not is_offline:
                assert machine.state == "running"
                return
            await plane.wait_for(lambda: not machine.lives)
            missed, *_ = find(events, "runner.missed")
            assert missed["reason"] == "its runner went offline, and its task did not end"
            assert missed["console"] == [machine.console.strip()]
            await scene.wait(100)
            assert (await scene.launch()).place not in (None, machine.id)
            assert machine.id not in scene.parameters.held

    play(story())


def test_a_machine_that_comes_to_a_settled_launch_is_seen_to_its_end(monkeypatch):
    """The news of the job that took its runner is the last one, and EC2's event is lost."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            scene.hub.jobs[1] = {"status": "queued"}
            first = await scene.begin(1)
            await scene.begin(2)
            one, two = plane.machines
            await scene.send(make_demand(2, "completed", conclusion="cancelled"))
            await plane.wait_for(lambda: not two.lives)
            await scene.wait(40)
            assert (await scene.launch(2)).ended
            scene.hub.jobs[1] = {"status": "completed", "conclusion": "cancelled"}
            scene.hub.remove(first.runner_name)
            one.end()
            await plane.wait_for(lambda: not one.lives)
            late = make_demand(2, "in_progress", runner_name=first.runner_name, runner_id=1)
            await scene.send(late)
            assert (await scene.launch(2)).place == one.id
            await scene.wait(200)
            assert (await scene.launch(2)).ended
            await scene.check_nothing_left()

    play(story())
