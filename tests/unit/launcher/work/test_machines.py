"""From a queued job to a machine of EC2, and back to nothing: a worker and EC2's control plane."""

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from launcher.demand.message import Poison
from launcher.identity import CLIENT_TOKEN_TAG
from launcher.places.boot import IDLE_TAG, LONGEST
from launcher.places.ec2 import Ec2
from launcher.pools.document import parse_pools
from local import aws, ec2
from sidecar.aws.calls import AwsError
from tests.unit.launcher.work.scene import POOLS, make_demand, open_scene

MACHINES = """
[[pool]]
name = "small"
place = "ec2"
labels = ["small"]
launch_template = "runner"
capacities = ["spot", "on-demand"]
instance_types = ["c7i.large", "m7i.large"]
subnets = ["subnet-0000000a", "subnet-0000000b"]
maximum = 3
rerun_interrupted = true
"""
FLEET = f'{MACHINES}user_data = "template"\n'
ENDS = {"InstanceInitiatedShutdownBehavior": "terminate"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    """Give dummy credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")


@asynccontextmanager
async def opened(monkeypatch, pools=MACHINES, program=ec2.run_for_ever):
    """Yield a scene whose pool has machines, and their control plane."""
    scene = open_scene(pools)
    async with ec2.serving(program, now=scene.now) as plane, Ec2(aws.REGION) as client:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", plane.url)
        template = ec2.LaunchTemplate()
        plane.templates = [ec2.LaunchTemplate(data={**template.data, **ENDS})]
        scene.ec2 = client
        scene.worker = scene.make_worker()
        yield scene, plane


def play(story):
    """Run a story, for 30 s at most."""
    asyncio.run(asyncio.wait_for(story, 30))


def find(events, name):
    """Return the events of a name."""
    return [event for event in events if event["event"] == name]


async def tell(scene, plane, *kinds):
    """Give the worker the newest event of EC2, or the newest of a kind."""
    told = [event for event in plane.events.told if not kinds or event["detail-type"] in kinds]
    return await scene.send(told[-1])


async def check_nothing_left(scene, plane):
    """Check that no machine, runner, token, place and message is left."""
    await plane.wait_for(lambda: plane.living() == [])
    await scene.check_nothing_left()


@pytest.mark.parametrize("pools", [MACHINES, FLEET])
def test_a_queued_job_gets_a_machine_of_its_own_and_nothing_is_left(monkeypatch, pools):
    """Placed, handed over by a parameter of the instance's id, served, cleaned up."""

    async def story():
        async with opened(monkeypatch, pools) as (scene, plane):
            launch = await scene.begin()
            (machine,) = plane.machines
            assert (launch.place, machine.capacity) == (machine.id, "spot")
            assert launch.runner_name == f"ecs-{machine.id}-1"
            ((place, text, tags),) = scene.parameters.written
            assert place == machine.id
            assert json.loads(text)["policy"]["forks"] is False
            assert tags.items() <= machine.tags.items()
            assert machine.tags[IDLE_TAG] == "300"
            await plane.wait_for(lambda: machine.state == "running")
            await scene.boot()
            await scene.run(1, launch.runner_name)
            assert (await scene.launch()).served
            machine.say("runner-machine: the agent has ended with exit code 0")
            machine.end(("Client.InstanceInitiatedShutdown", "Instance initiated shutdown"))
            await plane.wait_for(lambda: not machine.lives)
            scene.hub.remove(launch.runner_name)
            done = make_demand(1, "completed", conclusion="success", runner_name=launch.runner_name)
            await scene.send(done)
            assert await tell(scene, plane) is None
            assert (await scene.launch()).ended
            await scene.wait(400)
            await check_nothing_left(scene, plane)
            assert len(plane.machines) == 1

    play(story())


def test_user_data_are_constant_and_hold_no_secret(monkeypatch):
    """Two machines have the same; what differs is in tags, and in the parameter."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            await scene.begin(1)
            await scene.begin(2)
            one, two = plane.machines
            assert one.user_data == two.user_data
            assert len(one.user_data.encode()) <= LONGEST
            assert "PARAMETER_PREFIX=/tokens" in one.user_data
            assert "LIMIT=44400" in one.user_data  # boot, life and a margin
            for _, text, _ in scene.parameters.written:
                assert text not in str(plane.requests)
            assert "blob of" not in str(plane.requests)
            assert one.tags[CLIENT_TOKEN_TAG] != two.tags[CLIENT_TOKEN_TAG]

    play(story())


def test_a_machine_is_told_no_key_of_its_token(monkeypatch):
    """Every job could read it in the user data: its agent deletes a registration token itself."""

    async def story():
        pools = f'{MACHINES}token = "registration"\n'
        async with opened(monkeypatch, pools) as (scene, plane):
            scene.hub.create_registration_token = make_token
            launch = await scene.begin()
            assert "TOKEN_KEY" not in plane.machines[0].user_data
            assert json.loads(scene.parameters.held[launch.place])["token"] == "AREG"
            assert launch.keeps_token is False

    async def make_token(*, tries):
        assert tries == 1
        return SimpleNamespace(secret="AREG")

    play(story())


def test_machines_have_a_pace_of_their_own(monkeypatch):
    """EC2 lets an account start two a second; who comes later waits for its turn, and says so."""

    async def story():
        async with opened(monkeypatch, MACHINES.replace("maximum = 3", "maximum = 9")) as opens:
            scene, plane = opens
            for number in range(1, 9):
                await scene.send(make_demand(number))
            assert len(plane.machines) == 7  # five at once, and what comes within a second
            (later,) = [put_off for put_off in scene.put_off if "calls a second" in put_off.reason]
            assert later.reason == "RunInstances takes 2 calls a second"
            await scene.wait(5)
            assert len(plane.machines) == 8

    play(story())


def test_capacities_types_and_subnets_are_asked_in_order(monkeypatch):
    """A quota of Spot does not stop the pass; what was refused is in the record."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            plane.most_spot = 0
            plane.droughts = [ec2.Drought(kind="c7i.large")]
            launch = await scene.begin()
            (machine,) = plane.machines
            assert (machine.capacity, machine.kind) == ("on-demand", "m7i.large")
            assert launch.step == 6
            reasons = " ".join(launch.reasons)
            assert "MaxSpotInstanceCountExceeded" in reasons
            assert "InsufficientInstanceCapacity" in reasons
            assert launch.failures == 0

    play(story())


def test_without_room_anywhere_the_job_waits(monkeypatch):
    """A new round has new tokens; the quota or the drought is named."""

    async def story():
        async with opened(monkeypatch, FLEET) as (scene, plane):
            plane.droughts = [ec2.Drought()]
            with capture_logs() as events:
                await scene.send(make_demand())
            (delayed,) = find(events, "task.delayed")
            assert delayed["why"] == "capacity"
            assert (await scene.launch()).round == 2
            plane.droughts = []
            await scene.wait(60)
            assert len(plane.machines) == 1
            assert (await scene.launch()).handed_over

    play(story())


def test_a_machine_that_does_not_register_is_ended_and_says_why(monkeypatch):
    """After its boot time, with the last lines of its console; then the next try begins."""

    async def hangs(machine):
        machine.say("runner-machine: begins: agent from image, 44400 s at most")
        machine.say("[FAILED] Failed to start network-online.target")
        await ec2.run_for_ever(machine)

    async def story():
        async with opened(monkeypatch, program=hangs) as (scene, plane):
            await scene.begin()
            (first,) = plane.machines
            await plane.wait_for(lambda: first.console.count("\n") == 2)
            with capture_logs() as events:
                await scene.wait(320)
            (missed,) = find(events, "runner.missed")
            assert missed["reason"] == "no runner is online after 300 s"
            assert missed["machine"] == first.id
            assert missed["console"] == [
                "runner-machine: begins: agent from image, 44400 s at most",
                "[FAILED] Failed to start network-online.target",
            ]
            await plane.wait_for(lambda: not first.lives)
            await tell(scene, plane)
            assert len(plane.machines) == 2
            assert (await scene.launch()).failures == 1
            assert first.id not in scene.parameters.held

    play(story())


def test_a_short_boot_time_is_kept_to_the_second(monkeypatch):
    """Though a task that starts is looked at once a minute."""
    pools = f"{MACHINES}boot_limit = 30\n"

    async def story():
        async with opened(monkeypatch, pools) as (scene, plane):
            await scene.begin()
            await scene.wait(29)
            assert len(plane.living()) == 1
            await scene.wait(3)
            await plane.wait_for(lambda: plane.living() == [])

    play(story())


def test_a_console_that_cannot_be_read_is_said_instead(monkeypatch):
    """The machine is ended all the same."""

    async def refuse(_):
        raise AwsError("cannot read the console: access denied (needs ec2:GetConsoleOutput)")

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            await scene.begin()
            scene.ec2.read_console = refuse
            with capture_logs() as events:
                await scene.wait(320)
            (missed,) = find(events, "runner.missed")
            assert "needs ec2:GetConsoleOutput" in missed["console"][0]
            await plane.wait_for(lambda: plane.living() == [])

    play(story())


def test_a_machine_that_ec2_does_not_know_any_more_has_ended(monkeypatch):
    """Another one is started for its job."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            launch = await scene.begin()
            plane.machines[0].id = "i-00000000000000001"
            scene.hub.jobs[1] = {"status": "queued"}
            await scene.wait(320)
            assert (await scene.launch()).place not in (None, launch.place)

    play(story())


@pytest.mark.parametrize("reason", [ec2.NO_ROOM, ec2.SPOT])
def test_a_machine_that_dies_of_no_room_is_no_fault(monkeypatch, reason):
    """It came to nothing seconds after a good answer; or Spot took it before it had a job."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            plane.failing_starts = [reason]
            await scene.begin()
            await plane.wait_for(lambda: not plane.machines[0].lives)
            with capture_logs() as events:
                await tell(scene, plane)
            (delayed,) = find(events, "task.delayed")
            assert delayed["why"] == "capacity"
            launch = await scene.launch()
            assert (launch.failures, len(plane.machines)) == (0, 2)

    play(story())


def test_a_machine_that_was_stopped_from_outside_is_terminated(monkeypatch):
    """Its event is enough; without it the job's own message finds it."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            await scene.begin()
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "running")
            machine.halt()
            await plane.wait_for(lambda: machine.state == "stopped")
            assert await tell(scene, plane) is None
            await plane.wait_for(lambda: machine.state == "terminated")
            await tell(scene, plane)
            assert len(plane.machines) == 2

    play(story())


def test_of_a_machine_that_says_nothing_at_its_end_the_job_is_looked_up(monkeypatch):
    """It may have run its job: no second machine is started for it."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            launch = await scene.begin()
            scene.hub.jobs[1] = {
                "status": "completed",
                "conclusion": "success",
                "runner_name": launch.runner_name,
            }
            scene.hub.remove(launch.runner_name)
            (machine,) = plane.machines
            machine.end()
            await plane.wait_for(lambda: not machine.lives)
            await tell(scene, plane)
            assert (await scene.launch()).served
            assert len(plane.machines) == 1

    play(story())


def test_spot_s_notice_is_told_and_its_run_is_run_again(monkeypatch):
    """Once, on demand: as for a task of ECS."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            launch = await scene.begin()
            (machine,) = plane.machines
            await scene.boot()
            await scene.run(1, launch.runner_name)
            plane.events.note_interruption(machine)
            with capture_logs() as events:
                await tell(scene, plane, "EC2 Spot Instance Interruption Warning")
            (told,) = find(events, "task.interrupted")
            assert (told["task"], told["has_job"]) == (machine.id, True)
            machine.end(ec2.SPOT)
            await plane.wait_for(lambda: not machine.lives)
            scene.hub.remove(launch.runner_name)
            scene.hub.runs[100]["status"] = "completed"
            scene.hub.jobs[1] = {
                "status": "completed",
                "conclusion": "failure",
                "runner_name": launch.runner_name,
            }
            with capture_logs() as events:
                await tell(scene, plane)
                await scene.wait(400)
            assert find(events, "rerun.asked")
            again = make_demand(2, run_attempt=2)
            await scene.begin_of(again)
            assert plane.machines[-1].capacity == "on-demand"

    play(story())


def test_an_event_of_somebody_else_s_machine_changes_nothing(monkeypatch):
    """Nor one of a machine that still lives; one that names none is refused."""

    async def story():
        async with opened(monkeypatch) as (scene, plane):
            await scene.begin()
            (machine,) = plane.machines
            await plane.wait_for(lambda: machine.state == "running")
            assert await tell(scene, plane) is None
            event = {
                "detail-type": "EC2 Instance State-change Notification",
                "detail": {"instance-id": "i-00000000000000000", "state": "terminated"},
            }
            assert await scene.send(event) is None
            assert machine.state == "running"
            for detail in (None, {}, {"instance-id": "x"}, {"instance-id": 1}):
                with pytest.raises(Poison):
                    await scene.send({**event, "detail": detail})

    play(story())


@pytest.mark.parametrize("pools", [MACHINES, FLEET])
def test_a_lost_answer_is_settled_before_the_pool_s_new_place_is_asked(monkeypatch, pools):
    """A pool that became one of tasks meanwhile: the machine is found by its tag, and ended."""

    async def story():
        async with opened(monkeypatch, pools) as (scene, plane):
            real = scene.ec2.start

            async def lose(request):
                await real(request)
                raise LostAnswer

            scene.ec2.start = lose
            with pytest.raises(LostAnswer):
                await scene.send(make_demand())
            scene.ec2.start = real
            (machine,) = plane.machines
            assert (await scene.launch()).place is None
            scene.pools = parse_pools(POOLS)
            scene.clock[0] += 60
            scene.hub.jobs[1] = {"status": "queued"}
            await scene.send(make_demand(), received=2)
            await plane.wait_for(lambda: not machine.lives)
            await scene.wait(100)
            launch = await scene.launch()
            assert launch.place.startswith("arn:aws:ecs")
            assert len(scene.tasks.living) == 1

    play(story())


class LostAnswer(Exception):
    """No answer."""
