"""What can be wrong with the credentials of jobs, and with the end of a task."""

import asyncio

import pytest

from local import aws as local_aws
from local import ecs_agent, faults, imds
from local.ecs.tasks import TaskDefinition
from local.ecs_agent.modes import Mode
from local.faults import Rule
from tests.doctor.plays import check, check_first
from tests.doctor.scene import REVISION, open_scene
from tests.lives.stage import run_side_by_side
from tests.support import servers

NO_ROLE = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": None}
JOB_ROLE = f"arn:aws:iam::{local_aws.ACCOUNT}:role/job"


def test_rules_that_are_not_allowed(aws):
    """In network mode host they would be the instance's."""

    async def play():
        task = ecs_agent.Task(network_mode="host")
        async with open_scene(aws, task=task) as scene:
            env = {"SIDECAR_RELAY": "netfilter"}
            check_first(await scene.examine(env), "rules-in-network-mode-host")

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("nothing-to-relay", {**NO_ROLE, "SIDECAR_RELAY_REQUIRED": "true"}),
        (
            "wrong-credentials-url",
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://far.example.com/secret-path"},
        ),
    ],
)
def test_nothing_that_could_be_relayed(aws, name, env):
    """No role, or a URL that no SDK would ask."""

    async def play():
        async with open_scene(aws) as scene:
            check(await scene.examine(env, secrets=["secret-path"]), name)

    run_side_by_side(play())


def test_a_job_role_that_does_not_trust(aws):
    """STS refuses AssumeRole: no job would have credentials."""

    async def play():
        async with open_scene(aws) as scene:
            scene.ssm.add(Rule("status", target="AssumeRole", error="AccessDenied"))
            env = {"SIDECAR_JOB_ROLE_ARN": JOB_ROLE}
            check_first(await scene.examine(env), "job-role-refused")

    run_side_by_side(play())


def test_a_job_role_that_fits(aws):
    """It is assumed once, and the credentials are given to nobody."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine({"SIDECAR_JOB_ROLE_ARN": JOB_ROLE})
            assert f"jobs get {JOB_ROLE}" in examined.find("job role", "ok")[0]
            assert len(scene.ssm.seen(target="AssumeRole")) == 1

    run_side_by_side(play())


def test_keys_in_variables(aws):
    """They win over the role, and STS says whose they are."""

    async def play():
        async with open_scene(aws) as scene:
            role = f"arn:aws:iam::{local_aws.ACCOUNT}:role/other"
            held = await asyncio.to_thread(local_aws.assume_role, scene.moto, role)
            env = {
                "AWS_ACCESS_KEY_ID": held.access_key_id,
                "AWS_SECRET_ACCESS_KEY": held.secret_access_key,
                "AWS_SESSION_TOKEN": held.session_token,
            }
            examined = await scene.examine(env, secrets=list(env.values()))
            check(examined, "keys-in-variables")
            assert any("assumed-role/other/task" in text for text in examined.find("roles", "ok"))

    run_side_by_side(play())


def test_the_instance_s_role_in_a_task(aws):
    """A job could ask for it: the line names it, and how it is kept away."""

    async def play():
        async with open_scene(aws) as scene, imds.serving(scene.moto) as metadata:
            env = {
                "AWS_EC2_METADATA_DISABLED": None,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            }
            secrets = [metadata.held["SecretAccessKey"], metadata.held["Token"]]
            examined = await scene.examine(env, secrets=secrets)
            check(examined, "instance-role-in-a-task")
            (text,) = examined.find("roles", "warning")
            assert "assumed-role/instance/" in text

    run_side_by_side(play())


def test_a_machine_has_its_own_role(aws):
    """There it is no warning; the machine is named."""

    async def play():
        async with open_scene(aws) as scene, imds.serving(scene.moto) as metadata:
            env = dict.fromkeys(scene.ecs.environment)
            env |= {
                "AWS_EC2_METADATA_DISABLED": None,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
                "SIDECAR_PLATFORM": "ec2",
            }
            examined = await scene.examine(env)
            assert examined.code == 0, examined.output
            assert metadata.instance.id in examined.find("place", "ok")[0]
            assert any("assumed-role/instance/" in text for text in examined.find("roles", "ok"))
            assert "assumed-role/instance/" in examined.find("identity", "ok")[0]

    run_side_by_side(play())


def test_an_ecs_agent_that_has_no_credentials(aws):
    """As after a restart of the agent: it answers 400."""

    async def play():
        async with open_scene(aws) as scene:
            scene.ecs.credentials = Mode("unknown")
            check(await scene.examine(), "no-credentials-from-ecs")

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "granted"), [("short-stop-timeout", 20), ("long-stop-timeout", 90)]
)
def test_a_stop_timeout_that_does_not_fit(aws, name, granted):
    """The task definition says another number than SIDECAR_STOP_TIMEOUT."""

    async def play():
        async with open_scene(aws) as scene:
            definition = TaskDefinition(revision=REVISION, stop_timeout=granted)
            scene.plane.definitions = [definition]
            examined = await scene.examine()
            (check_first if examined.code else check)(examined, name)

    run_side_by_side(play())


def test_a_stop_budget_that_no_task_of_fargate_gets(aws):
    """It grants two minutes at most."""

    async def play():
        async with open_scene(aws, task=ecs_agent.Task(launch_type="FARGATE")) as scene:
            check_first(
                await scene.examine({"SIDECAR_STOP_TIMEOUT": "300"}), "too-long-for-fargate"
            )

    run_side_by_side(play())


def test_a_task_definition_that_may_not_be_read(aws):
    """It is no failure: the line says what to compare by hand."""

    async def play():
        async with open_scene(aws) as scene, faults.serving(scene.plane.url) as plane:
            plane.add(Rule("status", error="AccessDeniedException"))
            examined = await scene.examine({"AWS_ENDPOINT_URL_ECS": plane.url})
            check(examined, "definition-may-not-be-read")
            assert examined.code == 0

    run_side_by_side(play())


def test_a_health_address_that_is_taken(aws):
    """By a program that is no agent."""

    async def refuse(_, writer):
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def play():
        async with open_scene(aws) as scene, servers.serving(refuse) as server:
            _, port = server.sockets[0].getsockname()
            env = {"SIDECAR_HEALTH_ADDRESS": f"127.0.0.1:{port}"}
            check(await scene.examine(env), "health-address-taken")

    run_side_by_side(play())


def test_an_agent_that_lives_here_already(aws):
    """Beside it the doctor changes nothing, and says in which phase it is."""

    async def play():
        async with open_scene(aws) as scene, scene.life() as life:
            started = await life.wait_for_event("health.started")
            await life.wait_for_phase("idle")
            env = {"SIDECAR_HEALTH_ADDRESS": f"127.0.0.1:{started['port']}"}
            examined = await scene.examine(env)
            assert "in the phase idle" in examined.find("health", "ok")[0]
            life.signal()
            await scene.check_end(life, 0)

    run_side_by_side(play())
