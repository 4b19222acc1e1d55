"""Machines that hang, crash, lose their network, are stopped or taken: nothing of them is left."""

import asyncio
import itertools
import random
from dataclasses import replace

import pytest

from launcher.identity import LAUNCH_TAG
from launcher.places.ec2 import Ec2
from launcher.work.queued import launch_id
from local import aws, ec2, faults
from local.ec2.machines import SHUT_DOWN
from sidecar.aws import calls
from sidecar.errors import SidecarError
from tests.unit.launcher.work.scene import make_demand, open_scene
from tests.unit.launcher.work.test_machines import ENDS, MACHINES

JOBS = 25
STEP = 20.0
"""Seconds of the scene's clock between two looks of the world."""
LONGEST = 4 * 3600.0
LIMIT = 44_400.0
"""Seconds after which a machine ends itself: as its user data say."""
FATES = ["good"] * 6 + ["hang", "offline", "crash", "silent", "halt", "spot", "spot-with-job"]
POOLS = MACHINES.replace("maximum = 3", "maximum = 100").replace("rerun_interrupted = true", "")
END = "runner-machine: the agent has ended with exit code"


class World:
    """GitHub and the machines, which do by chance what machines do."""

    def __init__(self, scene, plane, front, chance):
        self.scene, self.plane, self.front, self.chance = scene, plane, front, chance
        self.jobs = {
            launch_id("default", make_demand(number)): number for number in range(1, JOBS + 1)
        }
        self.fates = {}
        self.running = {}
        """The runner of each machine that has a job."""
        self.told = 0

    def number(self, machine):
        """Return the number of a machine's job."""
        return self.jobs[machine.tags[LAUNCH_TAG]]

    async def step(self):
        """Let every machine do something, and AWS misbehave."""
        for machine in self.plane.living():
            if machine.state == "running":
                await self._live(machine)
            if self.scene.now() - machine.launched_at > LIMIT:
                machine.end(SHUT_DOWN)
        await asyncio.sleep(0)
        await self._tell()
        chance = self.chance.random()
        self.plane.droughts = [ec2.Drought(capacity="spot")] if chance < 0.3 else []
        self.plane.most_spot = 5 if chance > 0.5 else None
        if chance > 0.7:
            self.plane.throttles = {"RunInstances": 2, "DescribeInstances": 1}
        if chance < 0.2:
            operation = self.chance.choice(["RunInstances", "TerminateInstances"])
            self.front.add(faults.Rule("close", target=operation, forward=True, times=1))

    async def _live(self, machine):
        fate = self.fates.setdefault(machine.id, self.chance.choice(FATES))
        if machine.id in self.running:
            await self._end_job(machine, fate)
        elif fate == "crash":
            machine.say(f"{END} 15")
            machine.end(SHUT_DOWN)
        elif fate == "silent":
            machine.end(SHUT_DOWN)
        elif fate == "halt":
            machine.halt()
        elif fate == "spot":
            machine.end(ec2.SPOT)
        elif fate != "hang" and machine.id in self.scene.parameters.held:
            self.scene.parameters.held.pop(machine.id)
            if fate != "offline":
                await self._begin_job(machine)

    async def _begin_job(self, machine):
        number = self.number(machine)
        if self.scene.hub.jobs[number]["status"] != "queued":
            return
        name = next(
            each.name for each in self.scene.hub.runners_by_id.values() if machine.id in each.name
        )
        self.running[machine.id] = name
        await self.scene.run(number, name)

    async def _end_job(self, machine, fate):
        name, number = self.running.pop(machine.id), self.number(machine)
        self.scene.hub.remove(name)
        conclusion = "failure" if fate == "spot-with-job" else "success"
        job = {"status": "completed", "conclusion": conclusion, "runner_name": name}
        self.scene.hub.jobs[number] = job
        if fate == "spot-with-job":
            machine.end(ec2.SPOT)
        else:
            machine.say(f"{END} 0")
            machine.end(SHUT_DOWN)
        done = make_demand(number, "completed", conclusion=conclusion, runner_name=name)
        await self.scene.send(done)

    async def _tell(self):
        """Tell of what has happened; half of the events are lost."""
        new = self.plane.events.told[self.told :]
        self.told += len(new)
        for event in new:
            if self.chance.random() < 0.5:
                await self.scene.send(event)


def come_again(scene):
    """Let messages come again that fail, as a queue does."""
    handle, numbers = scene._handle, itertools.count(1_000_000)

    async def handle_or_keep(message):
        try:
            return await handle(message)
        except SidecarError:
            again = replace(message, received=message.received + 1, sent=scene.now())
            scene.queue.append((scene.now() + 30, next(numbers), again))

    scene._handle = handle_or_keep


@pytest.mark.parametrize("seed", range(2))
def test_whatever_becomes_of_machines_nothing_is_left(monkeypatch, seed):
    """Every job is served or given up, and every machine ends within its limit."""
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.001, longest=0.002)
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")

    async def storm():
        scene = open_scene(POOLS)
        async with (
            ec2.serving(now=scene.now) as plane,
            faults.serving(plane.url) as front,
            Ec2(aws.REGION) as client,
        ):
            monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", front.url)
            template = ec2.LaunchTemplate()
            plane.templates = [ec2.LaunchTemplate(data={**template.data, **ENDS})]
            scene.ec2 = client
            scene.worker = scene.make_worker()
            come_again(scene)
            chance = random.Random(seed)  # noqa: S311  chance, not secrecy
            world = World(scene, plane, front, chance)
            for number in range(1, JOBS + 1):
                scene.hub.jobs[number] = {"status": "queued"}
                await scene.send(make_demand(number))
            begun = scene.now()
            while (scene.queue or plane.living()) and scene.now() - begun < LONGEST:
                await scene.wait(STEP)
                await world.step()
            launches = [await scene.launch(number) for number in range(1, JOBS + 1)]
            open_ = [launch for launch in launches if not launch.settled]
            assert open_ == []
            left = [machine.describe() for machine in plane.living()]
            assert left == []
            assert [launch.id for launch in launches if not launch.ended] == []
            await scene.check_nothing_left()
            assert sum(launch.served for launch in launches) > JOBS / 2
            served = [name for name in world.fates.values() if name in ("good", "spot-with-job")]
            assert len(served) >= sum(launch.served for launch in launches)
            for machine in plane.machines:
                assert machine.ended_at - machine.launched_at <= LIMIT + STEP

    asyncio.run(asyncio.wait_for(storm(), 120))
