"""Run whole lives on a machine of EC2, whose metadata say who it is."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import timedelta

import pytest

from local import imds, ssm
from local.faults import Rule
from tests.lives.machine import open_machine
from tests.lives.stage import run_side_by_side
from tests.lives.test_launchers import OURS, mint_token_for

HURRY = (
    "import sys; from sidecar.aws import instance_metadata; from sidecar.lifecycle import watches; "
    "instance_metadata.CALL_SECONDS = 0.5; instance_metadata.PATIENCE = {patience}; "
    "instance_metadata.LOOK = 30.0; "
    "watches.SPOT_EVERY = 0.2; "
    "from sidecar.__main__ import main; sys.exit(main(['run', *sys.argv[1:]]))"
)
HASTY = (sys.executable, "-c", HURRY.format(patience=30))
"""The agent, which looks for notices every 0.2 s, and waits long for a first answer."""
IMPATIENT = (sys.executable, "-c", HURRY.format(patience=1))
"""The agent, which waits for its machine's metadata for a second."""
BY_ID = "SIDECAR_TOKEN_PARAMETER"
SHORT = {"SIDECAR_STOP_TIMEOUT": "8"}
LONG = {"SIDECAR_STOP_TIMEOUT": "3600"}


async def put(stage, name, value=None, kind="SecureString"):
    """Write a parameter; without a value, a registration token."""
    await asyncio.to_thread(ssm.put, stage.moto, name, value or stage.mint_token(), kind)


async def read(stage, name):
    """Return what a parameter holds; None if it is gone."""
    return await asyncio.to_thread(ssm.read, stage.moto, name)


def own_parameter(stage):
    """Return the name of the parameter that belongs to the machine."""
    return f"{stage.parameter}/{imds.INSTANCE}"


@pytest.mark.parametrize("platform", ["ec2", None], ids=["ec2", "auto"])
def test_one_job(aws, platform):
    """A machine's id names its parameter and its runner, and its region is the job's.

    In the end the parameter and the runner are gone, and the exit code is that of a done job.
    """

    async def play():
        async with open_machine(aws) as stage:
            name = own_parameter(stage)
            await put(stage, name)
            job = stage.job("echo region $AWS_REGION")
            env = {BY_ID: f"{stage.parameter}/{{instance}}", "SIDECAR_PLATFORM": platform}
            async with stage.life(HASTY, env=env) as life:
                await stage.check_end(life, 0)
            assert re.fullmatch(f"ec2-{imds.INSTANCE}-[0-9a-f]{{6}}", job.runner_name)
            assert "region eu-central-1" in job.log()
            assert f"Instance: {imds.INSTANCE}" in job.log()
            (machine,) = life.find_events("machine.recognised")
            assert machine["instance"] == imds.INSTANCE
            assert (machine["life_cycle"], machine["tags"]) == ("on-demand", ["Name"])
            assert life.find_events("token.read", parameter=name)
            assert await read(stage, name) is None

    run_side_by_side(play())


def test_a_parameter_that_a_tag_names(aws):
    """It is written after the launch; until then a policy by its tag denies the read.

    Labels and prefix come by tags too, and nothing is a variable.
    """

    async def play():
        async with open_machine(aws) as stage:
            name = own_parameter(stage)
            stage.instance.tags = {
                "SIDECAR_TOKEN_PARAMETER": name,
                "SIDECAR_LABELS": "large",
                "SIDECAR_NAME_PREFIX": "build-",
            }
            denied = {"instead_of": "ParameterNotFound", "error": "AccessDeniedException"}
            stage.ssm.add(Rule("status", target="GetParameter", **denied))
            job = stage.job("echo done", labels=["large"])
            async with stage.life(env={BY_ID: None}) as life:
                await stage.ssm.reached(2, target="GetParameter")
                await put(stage, name)
                await stage.check_end(life, 0)
            assert job.runner_name.startswith(f"build-{imds.INSTANCE}-")
            assert await read(stage, name) is None

    run_side_by_side(play())


# --- the launchers that people have --------------------------------------------------------------


def test_terraform_by_tags_alone(aws):
    """What the module sets on its machines, and nothing else: three tags, and a late parameter."""

    async def play():
        async with open_machine(aws) as stage:
            pool = f"{stage.parameter}/runners"
            stage.instance.tags = {
                "Name": "build-action-runner",
                "ghr:environment": "build",
                "ghr:ssm_config_path": f"{pool}/config",
                "ghr:runner_name_prefix": "build-",
            }
            config = {
                "agent_mode": "ephemeral",
                "enable_jit_config": "false",
                "token_path": f"{pool}/tokens",
            }
            for key, value in config.items():
                await put(stage, f"{pool}/config/{key}", value, "String")
            name = f"{pool}/tokens/{imds.INSTANCE}"
            token = mint_token_for(stage, "/repos/octo/repo")
            arguments = f"--url {stage.github_url} --token {token} --labels a,b --ephemeral"
            job = stage.job("echo done", labels=["a"])
            async with stage.life(env=OURS) as life:
                await stage.ssm.reached(2, target="GetParameter")
                await put(stage, name, arguments)
                await stage.check_end(life, 0)
            (event,) = life.find_events("launcher.recognised")
            assert event["contract"] == "terraform"
            assert event["by"] == ["tags/instance/ghr:ssm_config_path", "instance-id"]
            assert job.runner_name == f"build-{imds.INSTANCE}"
            assert await read(stage, name) is None

    run_side_by_side(play())


def test_the_ec2_system_sets_nothing_on_the_machine(aws):
    """The id is known from the metadata: three parameters after the launch, read and deleted."""

    async def play():
        async with open_machine(aws) as stage:
            names = [
                f"{imds.INSTANCE}_{what}" for what in ("UniqueRunId", "RepositoryUrl", "AgentToken")
            ]
            token = mint_token_for(stage, "/repos/octo/repo")
            job = stage.job("echo done", labels=["self-hosted", imds.INSTANCE])
            async with stage.life(env=OURS) as life:
                await stage.ssm.reached(target="GetParameter")
                for name, value in zip(
                    names, (imds.INSTANCE, stage.github_url, token), strict=True
                ):
                    await put(stage, name, value, "String")
                await stage.check_end(life, 0)
            (event,) = life.find_events("launcher.recognised")
            assert (event["contract"], event["by"]) == ("ec2", ["instance-id"])
            assert job.runner_name == imds.INSTANCE
            assert [await read(stage, name) for name in names] == [None] * 3

    run_side_by_side(play())


# --- AWS takes the machine back ------------------------------------------------------------------


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_spot_notice_is_a_stop(aws, busy):
    """On a Spot machine, without any setting: parameter and runner are gone before AWS comes.

    A job that does not end by then is cancelled, however long the stop timeout is.
    """

    async def play():
        async with open_machine(aws, life_cycle="spot") as stage:
            stage.misbehave(time_scale=0.1)
            await stage.put()
            async with stage.life(HASTY, env=LONG) as life:
                await life.wait_for_phase("idle")
                if busy:
                    await stage.wait_for_output(stage.job("echo busy; sleep 600"), "busy")
                # Less than 25 s are left, so a job is cancelled at once.
                stage.instance.interrupt(after=timedelta(seconds=29))
                await stage.check_end(life, 22 if busy else 0)
            assert life.find_events("stop.requested", signal="spot-notice")

    run_side_by_side(play())


def test_a_job_has_the_time_that_a_spot_notice_says(aws):
    """With the stop timeout alone it would be interrupted at once."""

    async def play():
        async with open_machine(aws, life_cycle="spot") as stage:
            await stage.put()
            step, let_go = stage.make_gate()
            async with stage.life(HASTY, env=SHORT) as life:
                await life.wait_for_phase("idle")
                job = stage.job(step)
                await stage.wait_for_output(job, "at the gate")
                stage.instance.interrupt()
                awaited = await life.wait_for_event("stop.job_awaited")
                assert awaited["seconds"] > 60
                let_go()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"

    run_side_by_side(play())


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_rebalance_recommendation_ends_only_an_idle_machine(aws, busy):
    """It says that an interruption is likelier: a job that runs goes on to its end.

    The Spot notice is still looked for.
    """

    async def play():
        async with open_machine(aws, life_cycle="spot") as stage:
            await stage.put()
            step, let_go = stage.make_gate()
            async with stage.life(HASTY) as life:
                await life.wait_for_phase("idle")
                if busy:
                    job = stage.job(step)
                    await stage.wait_for_output(job, "at the gate")
                stage.instance.recommend_rebalance()
                await life.wait_for_event("watch.triggered", reason="rebalance-recommendation")
                if busy:
                    asked = stage.metadata.count_requests("instance-action")
                    await stage.metadata.wait_for_request("instance-action", asked + 2)
                    let_go()
                await stage.check_end(life, 0)
            assert not life.find_events("stop.requested")
            if busy:
                assert job.result == "succeeded"

    run_side_by_side(play())


def test_no_notice_is_looked_for_on_demand(aws):
    """AWS gives an on-demand machine none."""

    async def play():
        async with open_machine(aws) as stage:
            await stage.put()
            stage.job("echo done")
            async with stage.life(HASTY) as life:
                await stage.check_end(life, 0)
            assert not any("spot" in seen.path for seen in stage.metadata.requests)

    run_side_by_side(play())


# --- stops and faults ----------------------------------------------------------------------------


def test_a_stop_while_the_token_is_awaited(aws):
    """As systemd sends it: exit 16, and what the launcher wrote meanwhile is deleted."""

    async def play():
        async with open_machine(aws) as stage:
            name = own_parameter(stage)
            async with stage.life(env={BY_ID: f"{stage.parameter}/{{instance}}"}) as life:
                await stage.ssm.reached(2, target="GetParameter")
                await put(stage, name)
                life.signal()
                await stage.check_end(life, 16)
            assert await read(stage, name) is None

    run_side_by_side(play())


def test_a_stop_while_the_metadata_are_silent(aws):
    """The agent does not wait for them any longer: exit 16."""

    async def play():
        async with open_machine(aws) as stage:
            stage.metadata.fault = "silent"
            async with stage.life(HASTY) as life:
                await stage.metadata.wait_for_request("/api/token", 2)
                life.signal()
                assert await life.wait_for_end() == 16
            assert "stopped by SIGTERM" in life.errors

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("silent", "hop limit"), ("disabled", "switched off"), ("v1", "no IMDSv2")],
)
def test_a_machine_without_metadata(aws, fault, reason):
    """Exit 11 with one line: SIDECAR_PLATFORM=ec2 needs IMDSv2, and names why there is none."""

    async def play():
        async with open_machine(aws) as stage:
            stage.metadata.fault = fault
            # Only what is silent ends by the time: a late answer is asked for again.
            async with stage.life(IMPATIENT if fault == "silent" else HASTY) as life:
                assert await life.wait_for_end() == 11
            (line,) = life.errors.splitlines()
            assert line.startswith("SIDECAR_PLATFORM cannot be ec2: the instance metadata service")
            assert reason in line

    run_side_by_side(play())


@pytest.mark.parametrize("fault", ["silent", "disabled", "v1"])
def test_where_nothing_is_demanded_it_is_no_machine(aws, fault):
    """With `auto` a life goes on, as in a container outside AWS."""

    async def play():
        async with open_machine(aws) as stage:
            stage.metadata.fault = fault
            await stage.put()
            stage.job("echo done")
            env = {"SIDECAR_PLATFORM": None, "AWS_REGION": "eu-central-1"}
            own = {"AWS_ACCESS_KEY_ID": "AKIALOCAL", "AWS_SECRET_ACCESS_KEY": "local"}
            async with stage.life(env=env | own) as life:
                await stage.check_end(life, 0)
            assert not life.find_events("machine.recognised")

    run_side_by_side(play())


def test_a_machine_whose_metadata_are_late_and_have_no_tags(aws):
    """A machine that boots throttles, or has no network yet; tags are off by default."""

    async def play():
        async with open_machine(aws, tags=None) as stage:
            stage.metadata.fault = "throttled"
            await stage.put()
            stage.job("echo done")
            async with stage.life(HASTY) as life:
                await stage.metadata.wait_for_request("/api/token", 3)
                stage.metadata.fault = ""
                await stage.check_end(life, 0)
            (machine,) = life.find_events("machine.recognised")
            assert machine["tags"] == []

    run_side_by_side(play())


def test_metadata_are_left_alone_where_they_are_disabled(aws):
    """AWS_EC2_METADATA_DISABLED is for the agent too."""

    async def play():
        async with open_machine(aws) as stage:
            await stage.put()
            stage.job("echo done")
            env = {"SIDECAR_PLATFORM": None, "AWS_REGION": "eu-central-1"}
            env |= {"AWS_EC2_METADATA_DISABLED": "true"}
            env |= {"AWS_ACCESS_KEY_ID": "AKIALOCAL", "AWS_SECRET_ACCESS_KEY": "local"}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert stage.metadata.requests == []

    run_side_by_side(play())
