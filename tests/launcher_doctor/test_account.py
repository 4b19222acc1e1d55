"""What can be wrong in the account whose tasks a launcher starts."""

import asyncio

import pytest

from local import network, quotas
from tests.launcher_doctor.plays import check, check_first
from tests.launcher_doctor.scene import EXECUTION, open_scene
from tests.lives.stage import run_side_by_side

TASK_ROLE = "arn:aws:iam::123456789012:role/runner-task"
TO_NOBODY = {"command": ["CMD-SHELL", "curl -f http://localhost:8080/healthz || exit 1"]}


def forbid_to_pass(role):
    """Make what takes away PassRole on a role."""
    return lambda scene: scene.iam.denied_on.add(("iam:PassRole", role))


def build(**kind):
    """Make what gives the tasks another network."""

    def change(scene):
        scene.network = network.make_network(scene.moto, **kind)

    return change


def set_pool(**keys):
    """Make what changes keys of the pool."""
    return lambda scene: scene.pool.update(keys)


def define(**changes):
    """Make what changes the task definition."""
    return lambda scene: scene.change_definition(**changes)


def limit_quota(value):
    """Make what sets both of Fargate's quotas."""
    return lambda scene: scene.quotas.values.update({quotas.ON_DEMAND: value, quotas.SPOT: value})


ARRANGED = {
    "pools-have-a-mistake": set_pool(maximum="0"),
    "no-such-cluster": set_pool(cluster='"other"'),
    "no-such-provider": set_pool(capacities='["arm"]'),
    "no-such-definition": set_pool(task_definition='"other"'),
    "revision-inactive": define(status="INACTIVE"),
    "no-such-container": set_pool(container='"agent"'),
    "no-such-role": lambda scene: scene.iam.roles.pop("runner-task"),
    "role-trusts-others": lambda scene: scene.iam.roles.update(execution="ec2.amazonaws.com"),
    "pass-role-execution": forbid_to_pass(EXECUTION),
    "pass-role-task": forbid_to_pass(TASK_ROLE),
    "rights-may-not-be-asked": lambda scene: setattr(scene.iam, "closed", True),
    "no-way-out": build(exit_="none"),
    "no-public-address": build(exit_="internet"),
    "no-egress": build(egress=False),
    "no-such-subnet": set_pool(subnets='["subnet-0123456789abcdef0"]'),
    "no-such-image": lambda scene: scene.change_definition(image=f"{network.REGISTRY}/runner:2"),
    "quota-too-small": limit_quota(0.5),
    "quota-of-pools": limit_quota(4.0),
    "stop-timeout-too-short": define(stop_timeout=10),
    "health-check-kills": define(health_check=TO_NOBODY),
    "health-check-of-nothing": define(environment={"SIDECAR_HEALTH_ADDRESS": "off"}),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_a_wrong_account(aws, name):
    """The first line that fails names the cause, and what to change."""

    async def play():
        async with open_scene(aws) as scene:
            await asyncio.to_thread(ARRANGED[name], scene)
            check_first(await scene.examine(), name)

    run_side_by_side(play())


def test_a_launch_template_that_is_not_there(aws):
    """A pool of machines names it."""

    async def play():
        async with open_scene(aws) as scene:
            for key in ("cluster", "task_definition", "subnets", "security_groups", "capacities"):
                scene.pool.pop(key, None)
            text = "".join(
                f"{key} = {value}\n"
                for key, value in {
                    **scene.pool,
                    "place": '"ec2"',
                    "launch_template": '"machines"',
                    "access": '{ repositories = ["octo/repo"] }',
                }.items()
            )
            path = scene.folder / "machines.toml"
            path.write_text("[[pool]]\n" + text, encoding="utf-8")
            check_first(await scene.examine({"LAUNCHER_POOLS": str(path)}), "no-such-template")

    run_side_by_side(play())


def test_what_who_asks_may_not_see_is_no_failure(aws):
    """The worker's own role may not look at networks, say: a line says how to find out."""

    async def play():
        async with open_scene(aws) as scene:
            scene.iam.closed = True
            examined = await scene.examine()
            check(examined, "rights-may-not-be-asked")
            assert examined.code == 0, examined.output
            assert all("needs iam:GetRole" in text for text in examined.find("roles"))

    run_side_by_side(play())
