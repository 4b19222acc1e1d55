"""Play one story at the deployed launcher, and keep what is seen of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.deploy.parameters import parameter
from local import aws
from local.github.owner import LATE
from tests.deploy.deployed import CANARY, DEPLOYMENT, PAT, Deployed
from tests.deploy.orders import Placed, order_runners
from tests.deploy.stage import Stage, open_stage
from tests.deploy.swept import sweep_up
from tests.lives.stage import wait_until

if TYPE_CHECKING:
    from tests.deploy.garo import Ordered
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
    started: list[str] = field(default_factory=list)
    """The calls that started machines."""
    orders: list[Placed] = field(default_factory=list)
    """The orders of the API's callers."""
    garo: list[Ordered] = field(default_factory=list)
    """The same, by GARO's contract."""
    swept: dict[str, Any] = field(default_factory=dict)
    """The counts of the sweep that ended the planted orphans, and what was left of these."""
    sessions: dict[str, str] = field(default_factory=dict)
    """The caller's role that was assumed, by the access key of its session."""
    task_tags: dict[str, str] = field(default_factory=dict)
    definition: str = ""
    receives: int = 0
    """How often the worker got the poison."""
    dead: list[str] = field(default_factory=list)
    """What is in the dead letters."""
    secrets: list[str] = field(default_factory=list)
    """All that must be seen nowhere."""
    runtask: str = ""
    """All that was asked of ECS and EC2."""
    left: dict[str, Any] = field(default_factory=dict)
    log: str = ""


async def play(told: Story) -> None:
    """Play it."""
    async with open_stage(told.deployed) as stage:
        await _serve_one_job(told, stage)
        await _cancel_one_job(stage)
        await _start_machines(told, stage)
        told.orders, told.garo = await order_runners(stage)
        await _delete_used_tokens(told, stage)
        told.swept = await sweep_up(stage)
        await _send_poison(told, stage)
        await _look_around(told, stage)


async def _serve_one_job(told: Story, stage: Stage) -> None:
    """Run a job, whose delivery comes a second time while it waits for its runner."""
    job = stage.queue_job("self-hosted", "ecs")
    await wait_until(lambda: stage.ecs.tasks, "a task")
    hooks = stage.github.world.hooks
    guid = hooks.redeliver(hooks.of_job(job.id, "queued")[0]).guid

    def is_answered() -> bool:
        told.redelivery, code = [
            (each.status, each.status_code) for each in hooks.deliveries if each.guid == guid
        ][-1]
        return code != 0 and code not in LATE

    await wait_until(lambda: job.state == "completed", "the job's end")
    await wait_until(is_answered, "the answer to the redelivery")
    await wait_until(lambda: not stage.ecs.living(), "the task's end")
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


async def _start_machines(told: Story, stage: Stage) -> None:
    """Start a machine in each way, by a job that is cancelled before it has its runner."""
    for label in ("machine", "fleet"):
        before = len(stage.ec2.machines)
        job = stage.queue_job("self-hosted", label)
        await wait_until(lambda: len(stage.ec2.machines) > before, f"a machine for {label}")  # noqa: B023
        stage.github.world.cancel(job)
        await wait_until(lambda: not stage.ec2.living(), f"the end of the machine for {label}")
    await wait_until(lambda: stage.ec2.asked("GetConsoleOutput"), "a look at the event of an end")
    requests = stage.ec2.requests
    told.started = [
        operation
        for at, (operation, arguments) in enumerate(requests)
        if operation in ("RunInstances", "CreateFleet")
        and (operation, arguments) not in requests[:at]  # asked again, where an answer was late
    ]


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
    await stage.ecs.events.wait_until_told()
    await stage.ec2.events.wait_until_told()
    await wait_until(lambda: not stage.count(stage.queue).keys() - {"delayed"}, "a quiet queue")
    prefix = parameter(DEPLOYMENT, "tokens")
    told.left = {
        "parameters": aws.names(told.deployed.url, prefix),
        "runners": [runner.name for runner in stage.github.world.runners],
        "tasks": stage.ecs.living(),
        "machines": stage.ec2.living(),
        "counters": [
            item
            for item in aws.read_table(told.deployed.url, told.deployed.outputs["TableName"])
            if int(item.get("places", {}).get("N", 0))
        ],
    }
    told.calls = {name: list(recorder.calls) for name, recorder in stage.calls.items()}
    tags = {each.id: each.tags for each in stage.ec2.machines}
    told.deployed.machines.tags = told.deployed.guest.machines.tags = tags
    told.sessions = {each.key: each.role for each in stage.sts.assumed}
    made = [token.value for token in stage.github.world.tokens]
    told.secrets = [CANARY, PAT, *stage.tokens, *made]
    told.runtask = repr([stage.ecs.requests, stage.ec2.requests])
