"""Machines that callers of the API order: as they are listed, and ended as tasks are."""

import asyncio

from launcher.places.ec2 import Ec2
from local import aws, ec2
from tests.unit.launcher.api.scene import ACCOUNT, POOLS, ApiScene

MACHINES = (
    POOLS.replace('pools = ["small"]\n', 'pools = ["small", "machines"]\n')
    + f"""
images = ["ami-0123456789abcdef0"]
instance_types = ["m7i.large"]

[[pool]]
name = "machines"
place = "ec2"
labels = ["machine"]
launch_template = "runner"
capacities = ["on-demand"]
instance_types = ["c7i.large"]
subnets = ["subnet-0000000a"]

[[garo]]
name = "alphagov"
repositories = ["octo/app"]
account = "{ACCOUNT}"
role = "arn:aws:iam::{ACCOUNT}:role/GitHubRunnerAssumeRole"
external_id = "an-external-id"
types = {{ ondemand = "machines", spot = "small" }}
images = ["ami-0123456789abcdef0"]
instance_types = ["m7i.large"]
roles = ["GitHubRunnerInstanceRole"]
"""
)
ENDS = {"InstanceInitiatedShutdownBehavior": "terminate"}


def play(monkeypatch, story):
    """Run a story with an API whose pool has machines, and their control plane."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "local")

    async def run():
        async with ec2.serving() as plane, Ec2(aws.REGION) as client:
            monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", plane.url)
            template = ec2.LaunchTemplate()
            plane.templates = [ec2.LaunchTemplate(data={**template.data, **ENDS})]
            await story(ApiScene(MACHINES, client), plane)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_caller_orders_a_machine_and_stops_it(monkeypatch):
    """With the type and the image that it has chosen; once, and nothing is left."""

    async def story(scene, plane):
        token = scene.mint()
        wanted = {"labels": ["machine"], "type": "m7i.large", "image": "ami-0123456789abcdef0"}
        status, begun = await scene.start(token, **wanted)
        assert status == 200, begun
        assert await scene.start(token, **wanted) == (status, begun)
        (asked,) = plane.asked("RunInstances")
        assert (asked["InstanceType"], asked["ImageId"]) == ("m7i.large", "ami-0123456789abcdef0")
        assert (await scene.ask("/stop", {"id": begun["id"]}))[1]["state"] == "stopping"
        await plane.wait_for(lambda: plane.living() == [])
        await scene.orders.tend()
        assert (await scene.ask("/state", {"id": begun["id"]}))[1]["state"] == "ended"
        await scene.work.check_nothing_left()

    play(monkeypatch, story)


def test_type_and_image_are_refused_where_the_pool_has_tasks(monkeypatch):
    """Though they are listed: a task has neither, and nobody is told that it had."""

    async def story(scene, plane):
        for field, value in (("type", "m7i.large"), ("image", "ami-0123456789abcdef0")):
            status, answer = await scene.start(**{field: value})
            assert (status, answer["error"]) == (
                403,
                f"{field} is for machines, and small has tasks",
            )
        status, answer = await scene.garo(
            sg=None, subnet=None, type="spot", instanceType="m7i.large"
        )
        assert (status, answer["error"].startswith("instanceType is for machines")) == (403, True)
        assert (scene.started, plane.machines) == ([], [])

    play(monkeypatch, story)


def test_garo_s_fields_choose_a_machine(monkeypatch):
    """Its instance type, its image and its instance profile, each where it is listed."""

    async def story(scene, plane):
        chosen = {
            "instanceType": "m7i.large",
            "imageid": "ami-0123456789abcdef0",
            "instanceRoleArn": "GitHubRunnerInstanceRole",
        }
        status, answer = await scene.garo(sg=None, subnet=None, type="ondemand", **chosen)
        assert status == 200, answer
        (asked,) = plane.asked("RunInstances")
        assert asked["IamInstanceProfile"] == {"Name": "GitHubRunnerInstanceRole"}
        assert (asked["InstanceType"], asked["ImageId"]) == ("m7i.large", "ami-0123456789abcdef0")
        only = {"sg": None, "subnet": None, "name": answer["name"]}
        _, found = await scene.garo("/state", **only)
        assert found["instanceid"] == plane.machines[0].id

    play(monkeypatch, story)
