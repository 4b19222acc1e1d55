"""Leave orphans of each kind at the deployed launcher, and have its function sweep them up."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.deploy.parameters import parameter
from launcher.places.request import make_tags
from launcher.record.records import KEPT
from local.github import payloads
from tests.deploy.deployed import DEPLOYMENT
from tests.deploy.guests import REPOSITORY

if TYPE_CHECKING:
    from tests.deploy.stage import Stage

DAY = 86_400.0
PAUSE = 1.0
"""Seconds between two looks, instead of a minute."""
JOB = 77_777


async def sweep_up(stage: Stage) -> dict[str, Any]:
    """Plant orphans, sweep twice; return what the second sweep has counted, and what is left."""
    stage.ecs.may_run.clear()
    task, machine = _start_task(stage), _start_machine(stage)
    token = parameter(DEPLOYMENT, f"tokens/{task.facts.id}")
    await asyncio.to_thread(_write, stage, token)
    await asyncio.to_thread(_sweep, stage)
    await asyncio.sleep(PAUSE)  # two looks are so far apart at least
    counts = await asyncio.to_thread(_sweep, stage)
    stage.ecs.may_run.set()
    left = [each for each in (task, machine) if each in [*stage.ecs.living(), *stage.ec2.living()]]
    return {"counts": counts, "left": [*left, *await asyncio.to_thread(_find, stage, token)]}


def _start_task(stage: Stage) -> Any:
    tags = make_tags(DEPLOYMENT, "swept", "swept", f"{stage.github.url}/{REPOSITORY}")
    outputs = stage.deployed.pool_outputs
    wanted = {
        "cluster": outputs["ClusterArn"],
        "taskDefinition": outputs["Family"],
        "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        "startedBy": "runner-launcher/swept",
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    stage.ecs.run_task(wanted)
    task = stage.ecs.tasks[-1]
    task.created_at -= DAY
    return task


def _start_machine(stage: Stage) -> Any:
    tags = make_tags(DEPLOYMENT, "swept", "swept", f"{stage.github.url}/{REPOSITORY}")
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    template = {"LaunchTemplateId": stage.deployed.machines.template.id, "Version": "$Default"}
    stage.ec2.run_instances(
        {
            "MinCount": 1,
            "MaxCount": 1,
            "LaunchTemplate": template,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "TagSpecifications": [{"ResourceType": "instance", "Tags": listed}],
        }
    )
    machine = stage.ec2.machines[-1]
    machine.launched_at -= DAY
    return machine


def _write(stage: Stage, token: str) -> None:
    """Write the task's token, and a launch that was given up and never cleaned up."""
    stage.deployed.client("ssm").put_parameter(
        Name=token,
        Value="unread",
        Type="SecureString",
        Tags=[{"Key": identity.DEPLOYMENT_TAG, "Value": DEPLOYMENT}],
    )
    demand = Demand(
        "queued",
        "",
        REPOSITORY,
        payloads.number_of(REPOSITORY),
        None,
        None,
        None,
        JOB,
        JOB,
        1,
        ("self-hosted", "ecs"),
    )
    item = {
        "id": {"S": f"launch#{identity.launch_id(DEPLOYMENT, 'swept', str(JOB))}"},
        "pool": {"S": "ecs"},
        "demand": {"S": demand.to_json()},
        "first_seen": {"N": str(time.time() - 7200)},
        "given_up": {"S": "its job is completed"},
        "version": {"N": "1"},
        "write": {"S": "swept"},
        "expires": {"N": str(int(time.time() - 7200 + KEPT))},
    }
    table = stage.deployed.outputs["TableName"]
    stage.deployed.client("dynamodb").put_item(TableName=table, Item=item)


def _sweep(stage: Stage) -> dict[str, Any]:
    deployed = stage.deployed
    name = deployed.resource("Sweep")
    answer = deployed.client("lambda").invoke(FunctionName=name, Payload=b"{}")
    text = answer["Payload"].read()
    assert "FunctionError" not in answer, text
    return dict(json.loads(text))


def _find(stage: Stage, token: str) -> list[str]:
    found = stage.deployed.client("ssm").get_parameters(Names=[token])
    return [each["Name"] for each in found["Parameters"]]
