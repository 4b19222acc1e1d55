"""Run whole lives with exactly what the launchers set whose token comes late, or by another name.

Names and meanings are those of the projects' own code; what GitHub then sees is what is held.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from local import ssm
from local.faults import Rule
from local.github.scope import Scope
from tests.lives.stage import open_stage, run_side_by_side
from tests.lives.test_launchers import OURS, mint_token_for, override_api, run_life

REPOSITORY = Scope.of_path("/repos/octo/repo")
MACHINE = "i-0123456789abcdef0"


def put(stage, name, value, kind="String"):
    """Write a parameter that is not the stage's own."""
    return asyncio.to_thread(ssm.put, stage.moto, name, value, kind)


def read(stage, name):
    """Return what a parameter holds; None if there is none."""
    return asyncio.to_thread(ssm.read, stage.moto, name)


def fleet(stage):
    """Return what its controller overrides, and what its task definition sets."""
    return {
        "RUNNER_REPOSITORY_URL": stage.github_url,
        "RUNNER_TOKEN": mint_token_for(stage, "/repos/octo/repo"),
        "RUNNER_LABELS": "self-hosted,image:ubuntu:22.04,class:large",
        "RUNNER_NAME": "runner",
        "RUNNER_TABLE": "runners",
        "GITHUB_REPO": "octo/repo",
        "EVENT_BUS_NAME": "runners",
    }


def test_fleet(aws):
    """Token, URL and labels are used; the name that all its tasks share becomes a prefix."""

    async def play():
        async with open_stage(aws) as stage:
            env = fleet(stage)
            runner, labels, seen, job, life = await run_life(
                stage, OURS | env, "fleet", labels=["image:ubuntu:22.04", "class:large"]
            )
            assert runner.scope == REPOSITORY
            assert re.fullmatch("runner-[0-9a-f]{12}-[0-9a-f]{6}", runner.name)
            assert {"image:ubuntu:22.04", "class:large"} <= labels
            assert not seen & (set(env) - {"RUNNER_NAME"})  # the runner sets that itself
            assert stage.token not in job.log() + life.text
            (event,) = life.find_events("launcher.recognised")
            assert [text.split(":")[0] for text in event["unheeded"]] == ["EVENT_BUS_NAME"]

    run_side_by_side(play())


def pagopa(stage):
    """Return what its action overrides."""
    name = "8654321-0-1764230400"
    return {
        "RUNNER_NAME": name,
        "GITHUB_REPOSITORY": stage.github_url,
        "GITHUB_TOKEN": mint_token_for(stage, "/repos/octo/repo"),
        "LABELS": name,
        "ECS_TASK_MAX_DURATION_SECONDS": "3600",
    }


def test_pagopa(aws):
    """GITHUB_TOKEN beside a URL is a registration token; the name and the label are its run's."""

    async def play():
        async with open_stage(aws) as stage:
            env = pagopa(stage)
            runner, labels, seen, job, life = await run_life(
                stage, OURS | env, "pagopa", labels=[env["LABELS"]]
            )
            assert runner.scope == REPOSITORY
            assert runner.name == env["RUNNER_NAME"]
            assert env["LABELS"] in labels
            # GITHUB_REPOSITORY and RUNNER_NAME are the runner's own there, and mean something else.
            assert not seen & {"GITHUB_TOKEN", "LABELS", "ECS_TASK_MAX_DURATION_SECONDS"}
            assert f"SEEN GITHUB_REPOSITORY={stage.github_url}" not in job.log()
            assert stage.token not in job.log() + life.text

    run_side_by_side(play())


def cmcs():
    """Return what its task definition sets, with a workflow's own id."""
    return {
        "PERSONAL_ACCESS_TOKEN": "ghp_local",
        "REPO_OWNER": "octo",
        "REPO_NAME": "repo",
        "RUNNER_LABELS": "ecs large,vpc",
        "RUNNER_UUID": "5d6f7a1c-6a1b-4f0a-9d53-6f3b2f0e8c11",
    }


def test_cmcs(aws):
    """A PAT, owner and repository are used; labels are separated by spaces or commas."""

    async def play():
        async with open_stage(aws) as stage:
            env = cmcs()
            runner, labels, seen, job, life = await run_life(
                stage, override_api(stage) | env, "cmcs", labels=[env["RUNNER_UUID"]]
            )
            assert runner.scope == REPOSITORY
            assert runner.name == env["RUNNER_UUID"]
            assert {"ecs", "large", "vpc", env["RUNNER_UUID"]} <= labels
            assert not seen & set(env)
            assert "ghp_local" not in job.log() + life.text
            assert [event["rung"] for event in life.find_events("runner.deregistered")] == [
                "github"
            ]

    run_side_by_side(play())


def garo():
    """Return what its user data exports before it calls the script that registers the runner."""
    return {
        "INSTANCE_ID": MACHINE,
        "RUNNER_REGION": "eu-west-2",
        "RUNNER_REPO": "octo/repo",
        "RUNNER_NAME": "github-runner-spot-qwertyuiop",
        "RUNNER_CFG_PAT": "ghp_local",
    }


@pytest.mark.parametrize("exported", [True, False], ids=["exported", "from-ssm"])
def test_garo(aws, exported):
    """The PAT is in the environment, or in the parameter that the launcher names; it is kept."""

    async def play():
        async with open_stage(aws) as stage:
            env = garo()
            if not exported:
                del env["RUNNER_CFG_PAT"]
                await put(stage, "/github/runner/pat", "ghp_local", "SecureString")
            runner, labels, seen, job, life = await run_life(
                stage, override_api(stage) | env, "garo", labels=["spot", "qwertyuiop"]
            )
            assert runner.scope == REPOSITORY
            assert runner.name == env["RUNNER_NAME"]
            assert {"spot", "qwertyuiop"} <= labels
            assert not seen & (set(env) - {"RUNNER_NAME"})
            assert "ghp_local" not in job.log() + life.text
            if not exported:
                assert await read(stage, "/github/runner/pat") == "ghp_local"

    run_side_by_side(play())


# --- tokens that are written after the launch ----------------------------------------------------


def terraform(stage):
    """Return our two variables, in the place of the tags of a machine."""
    return {
        "SIDECAR_LAUNCH_CONFIG": f"{stage.parameter}/runners/config",
        "SIDECAR_LAUNCH_ID": MACHINE,
    }


async def configure(stage, **changes):
    """Write the configuration of a pool as its Terraform module does."""
    config = {
        "run_as": "ec2-user",
        "agent_mode": "ephemeral",
        "disable_default_labels": "false",
        "enable_jit_config": "true",
        "enable_cloudwatch": "true",
        "token_path": f"{stage.parameter}/runners/tokens",
    } | changes
    for key, value in config.items():
        await put(stage, f"{stage.parameter}/runners/config/{key}", value)
    return f"{config['token_path']}/{MACHINE}"


async def write_late(stage, name, value, kind="SecureString"):
    """Write a parameter when the agent has asked for it in vain, as a launcher's call may come."""
    asked = await stage.ssm.reached(2, target="GetParameter")
    assert asked[0].status == 400
    await put(stage, name, value, kind)


def deny_until_written(stage):
    """Answer as SSM does where a policy allows only what has the machine's tag."""
    denied = {"instead_of": "ParameterNotFound", "error": "AccessDeniedException"}
    stage.ssm.add(Rule("status", target="GetParameter", **denied))


def make_arguments(stage):
    """Return the string that the launcher writes for an organization, for config.sh."""
    return (
        f"--url {stage.github.url}/octo --token {mint_token_for(stage, '/orgs/octo')} "
        "--labels 'self-hosted,ecs,needs a shell' --disableupdate --runnergroup Bob's builders "
        "--ephemeral"
    )


def test_terraform_with_arguments_of_config_sh(aws):
    """The string is written after the launch: quoted labels, a group that is not quoted.

    The runner's name ends with the machine's id, by which the launcher finds it.
    """

    async def play():
        async with open_stage(aws) as stage:
            stage.world.settings.runner_groups.append("Bob's builders")
            deny_until_written(stage)
            name = await configure(
                stage,
                agent_mode="persistent",
                disable_default_labels="true",
                enable_jit_config="false",
            )
            env = terraform(stage) | {"SIDECAR_NAME_PREFIX": "build-"}
            (runner, labels, seen, job, life), _ = await asyncio.gather(
                run_life(stage, OURS | env, "terraform", labels=["needs a shell"]),
                write_late(stage, name, make_arguments(stage)),
            )
            assert runner.scope == Scope.of_path("/orgs/octo")
            assert (runner.name, runner.group_id) == (f"build-{MACHINE}", 2)
            assert labels == {"self-hosted", "ecs", "needs a shell"}
            assert not any(one.startswith("SIDECAR_") for one in seen)
            assert stage.token not in job.log() + life.text
            assert await read(stage, name) is None
            (event,) = life.find_events("launcher.configured")
            assert (event["parameter"], event["just_in_time"]) == (name, False)
            unheeded = [text.split(":")[0] for text in event["unheeded"]]
            assert unheeded == ["agent_mode=persistent", "run_as=ec2-user", "enable_cloudwatch"]

    run_side_by_side(play())


def test_terraform_with_a_just_in_time_configuration(aws):
    """The configuration of an ephemeral runner is written after the launch; it is used as it is."""

    async def play():
        async with open_stage(aws) as stage:
            deny_until_written(stage)
            name = await configure(stage)
            blob = await generate_jit_configuration(stage, f"build-{MACHINE}")
            (runner, labels, _, _, life), _ = await asyncio.gather(
                run_life(stage, OURS | terraform(stage), "terraform", labels=["large"]),
                write_late(stage, name, blob),
            )
            assert runner.name == f"build-{MACHINE}"
            assert labels == {"self-hosted", "large"}
            assert blob not in life.text
            assert await read(stage, name) is None
            assert life.find_events("launcher.configured")[0]["just_in_time"] is True

    run_side_by_side(play())


async def generate_jit_configuration(stage, name):
    """Register a just-in-time runner as the launcher does; return its configuration."""
    url = f"{stage.github.api}/repos/octo/repo/actions/runners/generate-jitconfig"
    body = {"name": name, "runner_group_id": 1, "labels": ["self-hosted", "large"]}
    headers = {"Authorization": "Bearer ghp_local"}
    async with stage.http.post(url, json=body, headers=headers) as answer:
        assert answer.status == 201
        return (await answer.json())["encoded_jit_config"]


def test_terraform_s_token_is_deleted_although_it_was_never_read(aws):
    """A stop that comes while the configuration is read: the token is found all the same."""

    async def play():
        async with open_stage(aws) as stage:
            name = await configure(stage)
            await put(stage, name, make_arguments(stage), "SecureString")
            stage.ssm.add(Rule("delay", target="GetParameters", seconds=60, times=1))
            async with stage.life(env=OURS | terraform(stage)) as life:
                await stage.ssm.reached(target="GetParameters")
                life.signal()
                assert await life.wait_for_end() == 16
            assert await read(stage, name) is None
            assert life.find_events("token.deleted", parameter=name)

    run_side_by_side(play())


def test_terraform_s_configuration_is_missing(aws):
    """Exit 12, and the reason names the parameter and the setting."""

    async def play():
        async with open_stage(aws) as stage:
            async with stage.life(env=OURS | terraform(stage)) as life:
                assert await life.wait_for_end() == 12
            (failed,) = life.find_events("life.failed")
            assert f"there is no {stage.parameter}/runners/config/token_path" in failed["reason"]
            assert "SIDECAR_LAUNCH_CONFIG" in failed["reason"]

    run_side_by_side(play())


def test_ec2(aws):
    """The three parameters of a machine, written in the launcher's order, are read and deleted."""

    async def play():
        async with open_stage(aws) as stage:
            names = [f"{MACHINE}_{what}" for what in ("UniqueRunId", "RepositoryUrl", "AgentToken")]
            values = [MACHINE, stage.github_url, mint_token_for(stage, "/repos/octo/repo")]

            async def write():
                await stage.ssm.reached(target="GetParameter")
                for name, value in zip(names, values, strict=True):
                    await put(stage, name, value)

            env = OURS | {"SIDECAR_LAUNCH_ID": MACHINE}
            (runner, labels, seen, job, life), _ = await asyncio.gather(
                run_life(stage, env, "ec2", labels=["self-hosted", MACHINE]), write()
            )
            assert runner.scope == REPOSITORY
            assert runner.name == MACHINE
            assert {"self-hosted", MACHINE} <= labels
            assert not any(one.startswith("SIDECAR_") for one in seen)
            assert stage.token not in job.log() + life.text
            assert [await read(stage, name) for name in names] == [None, None, None]

    run_side_by_side(play())
