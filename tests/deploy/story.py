"""Play one story at the deployed launcher, and keep what is seen of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.deploy.parameters import parameter
from local import aws
from tests.deploy.stage import CANARY, DEPLOYMENT, PAT, Deployed, Stage, open_stage
from tests.lives.stage import wait_until

if TYPE_CHECKING:
    from tests.deploy.recorder import Call

POISON = "this is no message of ours"


@dataclass
class Story:
    """What was seen."""

    deployed: Deployed
    calls: dict[str, list[Call]] = field(default_factory=dict)
    """The calls of the functions, by the recorder that saw them."""
    tasks_of_first_job: int = 0
    calls_of_first_job: dict[str, int] = field(default_factory=dict)
    exit_codes: list[int | None] = field(default_factory=list)
    results: list[str | None] = field(default_factory=list)
    redelivery: str = ""
    task_tags: dict[str, str] = field(default_factory=dict)
    definition: str = ""
    receives: int = 0
    """How often the worker got the poison."""
    dead: list[str] = field(default_factory=list)
    """What is in the dead letters."""
    secrets: list[str] = field(default_factory=list)
    """All that must be seen nowhere."""
    runtask: str = ""
    """All that was asked of ECS."""
    left: dict[str, Any] = field(default_factory=dict)
    log: str = ""


async def play(told: Story) -> None:
    """Play it."""
    async with open_stage(told.deployed) as stage:
        await _serve_one_job(told, stage)
        await _cancel_one_job(stage)
        await _delete_used_tokens(told, stage)
        await _send_poison(told, stage)
        await _look_around(told, stage)


async def _serve_one_job(told: Story, stage: Stage) -> None:
    """Run a job, whose delivery comes a second time while it waits for its runner."""
    job = stage.queue_job("self-hosted", "ecs")
    await wait_until(lambda: stage.ecs.tasks, "a task")
    hooks = stage.github.world.hooks
    again = hooks.redeliver(hooks.of_job(job.id, "queued")[0])
    await wait_until(lambda: job.state == "completed", "the job's end")
    await wait_until(lambda: again.status != "pending", "the answer to the redelivery")
    await wait_until(lambda: not stage.ecs.living(), "the task's end")
    told.redelivery = again.status
    told.results.append(job.result)
    seen = [call.target for each in stage.calls.values() for call in each.calls]
    told.calls_of_first_job = dict(Counter(target.partition(".")[2] for target in seen))
    told.tasks_of_first_job = len(stage.ecs.tasks)
    told.exit_codes = [task.exit_code for task in stage.ecs.tasks]
    told.task_tags = dict(stage.ecs.tasks[0].tags)
    told.definition = stage.ecs.tasks[0].definition.arn


async def _cancel_one_job(stage: Stage) -> None:
    """Cancel a job while its task waits for capacity: the task is stopped."""
    stage.ecs.may_run.clear()
    before = len(stage.ecs.tasks)
    job = stage.queue_job("self-hosted", "ecs")
    await wait_until(lambda: len(stage.ecs.tasks) > before, "a second task")
    stage.github.world.cancel(job)
    await wait_until(lambda: not stage.ecs.living(), "the second task's stop")
    stage.ecs.may_run.set()


async def _delete_used_tokens(told: Story, stage: Stage) -> None:
    """Leave tokens as a fleet's agents do: the next tick deletes them with one call."""
    ssm, prefix = told.deployed.client("ssm"), parameter(DEPLOYMENT, "tokens")
    tasks = [f"used{number}" for number in range(3)]
    for task in tasks:
        ssm.put_parameter(Name=f"{prefix}/{task}", Value="used", Type="SecureString")
    told.deployed.client("dynamodb").put_item(
        TableName=told.deployed.resource("Table"),
        Item={"id": {"S": "used-tokens"}, "tasks": {"SS": tasks}},
    )
    told.deployed.client("sqs").send_message(
        QueueUrl=stage.queue, MessageBody=json.dumps({"kind": "tick"})
    )
    await wait_until(
        lambda: not set(aws.names(told.deployed.url, prefix)) & {f"{prefix}/{it}" for it in tasks},
        "the end of used tokens",
    )


async def _send_poison(told: Story, stage: Stage) -> None:
    """Send what nobody understands: it comes again and again, and then to the dead letters."""
    queues = told.deployed.client("sqs")
    # Instead of six minutes, so that five of them end in this test.
    queues.set_queue_attributes(QueueUrl=stage.queue, Attributes={"VisibilityTimeout": "2"})
    queues.send_message(QueueUrl=stage.queue, MessageBody=POISON)
    await wait_until(lambda: stage.count(stage.dead_letters), "the poison in the dead letters")
    found = queues.receive_message(QueueUrl=stage.dead_letters, MaxNumberOfMessages=10)
    told.dead = [message["Body"] for message in found["Messages"]]


async def _look_around(told: Story, stage: Stage) -> None:
    """Look at what is left, and at all that was seen.

    What the queue holds back for later finds then that nothing is to be done any more.
    """
    await wait_until(lambda: not stage.count(stage.queue).keys() - {"delayed"}, "a quiet queue")
    prefix = parameter(DEPLOYMENT, "tokens")
    told.left = {
        "parameters": aws.names(told.deployed.url, prefix),
        "runners": [runner.name for runner in stage.github.world.runners],
        "tasks": stage.ecs.living(),
        "counters": [
            item
            for item in aws.read_table(told.deployed.url, told.deployed.outputs["TableName"])
            if int(item.get("places", {}).get("N", 0))
        ],
    }
    told.calls = {name: list(recorder.calls) for name, recorder in stage.calls.items()}
    told.secrets = [CANARY, PAT, *(token.value for token in stage.github.world.tokens)]
    told.runtask = repr(stage.ecs.requests)
