"""What EC2 and a machine's console tell, from the stand-in for EC2."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from launcher.explain.entries import Mark, Source
from launcher.places.ec2 import Ec2
from local import aws, ec2
from tests.unit.launcher.explain.asking import Asking, make_job, texts
from tests.unit.launcher.work.scene import open_scene

MACHINES = """
[[pool]]
name = "small"
place = "ec2"
labels = ["small"]
launch_template = "runner"
capacities = ["spot", "on-demand"]
instance_types = ["c7i.large"]
subnets = ["subnet-0000000a"]
"""
ENDS = {"InstanceInitiatedShutdownBehavior": "terminate"}
EVENT = '{"reason": "cannot read it", "event": "life.failed", "level": "error"}'


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    """Give dummy credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")


@asynccontextmanager
async def opened(monkeypatch):
    """Yield a scene whose pool has machines, their control plane, and what asks."""
    scene = open_scene(MACHINES)
    async with ec2.serving(now=scene.now) as plane, Ec2(aws.REGION) as client:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", plane.url)
        template = ec2.LaunchTemplate()
        plane.templates = [ec2.LaunchTemplate(data={**template.data, **ENDS})]
        scene.ec2 = client
        scene.worker = scene.make_worker()
        asking = Asking(scene)
        asking.hub.deliver()
        asking.ec2 = client
        yield scene, plane, asking


def play(story):
    """Run a story, for 60 s at most."""
    asyncio.run(asyncio.wait_for(story, 60))


def test_a_machine_is_told_from_its_start_to_its_end(monkeypatch):
    """Its console says what ended it; with its id alone it is the same story."""

    async def story():
        async with opened(monkeypatch) as (scene, plane, asking):
            launch = await scene.begin()
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "running")
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert f"machine {machine.id}, c7i.large, spot" in texts(told, Source.EC2)[0]
            assert texts(told, Source.EC2, Mark.DONE) == ["it is running, 5 s after its start"]
            machine.say("runner-machine: the agent is installed")
            machine.say(EVENT)
            machine.say("runner-machine: the agent has ended with exit code 12")
            machine.end(("Client.InstanceInitiatedShutdown", "Instance initiated shutdown"))
            await plane.wait_for(lambda: not machine.lives)
            for what in (machine.id, launch.runner_name):
                told = await asking.explain(monkeypatch, what)
                assert told.cause.text == "the agent failed: cannot read it", texts(told)
                assert "its console: the agent is installed" in texts(told, Source.EC2)
                (end,) = texts(told, Source.EC2, Mark.FAILED)
                assert "Client.InstanceInitiatedShutdown" in end
                assert "exit code 12" in end

    play(story())


def test_spot_that_took_a_machine_is_the_cause(monkeypatch):
    """The machine had no time to say anything."""

    async def story():
        async with opened(monkeypatch) as (scene, plane, asking):
            await scene.begin()
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "running")
            machine.end(ec2.SPOT)
            await plane.wait_for(lambda: not machine.lives)
            told = await asking.explain(monkeypatch)
            assert told.cause.source is Source.EC2
            assert "Server.SpotInstanceTermination" in told.cause.text
            assert "took the Spot capacity back" in told.cause.advice

    play(story())


def test_a_machine_that_ec2_has_forgotten_is_said_to_be_gone(monkeypatch):
    """The record still tells of it."""

    async def story():
        async with opened(monkeypatch) as (scene, plane, asking):
            await scene.begin()
            plane.machines.clear()
            told = await asking.explain(monkeypatch)
            assert any("EC2 does not know the machine" in entry.text for entry in told.unseen)
            assert any("was started" in text for text in texts(told, Source.RECORD))

    play(story())


def test_an_old_type_shows_its_console_only_after_its_state_has_changed(monkeypatch):
    """So it is asked for once more, without `Latest`."""

    async def story():
        async with opened(monkeypatch) as (scene, plane, asking):
            await scene.begin()
            (machine,) = plane.machines
            machine.wanted["InstanceType"] = "t2.large"
            await plane.wait_for(lambda: machine.state == "running")
            machine.say("runner-machine: it is new")
            told = await asking.explain(monkeypatch)
            assert not any("it is new" in text for text in texts(told))
            assert told.unseen == ()
            machine.end()
            await plane.wait_for(lambda: not machine.lives)
            asking.hub.jobs[1] = make_job("completed", conclusion="cancelled")
            told = await asking.explain(monkeypatch)
            assert "its console: it is new" in texts(told, Source.EC2)
            assert told.cause.text == "cancelled before a runner had it"

    play(story())
