"""List the tasks of a cluster and the machines of an account that live, whoever started them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.places.ec2 import EC2, TRIES
from launcher.places.ec2_answers import HALTED
from launcher.places.ecs import DESCRIBED, ECS, SETTINGS
from sidecar.aws.calls import Call, backoff
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeVar

    from sidecar.aws.session import ServiceClient

    T = TypeVar("T")

LIVING = ("pending", "running", "stopping", "stopped")
"""States of a machine that costs money, or may again."""
VALUES = 200
"""Values of one filter of EC2."""


@dataclass(frozen=True, slots=True)
class Home:
    """A task or a machine, where an agent lives or lived."""

    place: str
    """Its ARN, or a machine's id."""
    began: float
    """The time at which it was asked for, in seconds since 1970."""
    stopping: bool
    """It has ended, or is about to."""
    tags: Mapping[str, str] = field(default_factory=dict)
    started_by: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The variables that the request has set in the containers of a task."""
    halted: bool = False
    """It is a machine that somebody has only stopped: it never runs again."""

    @property
    def id(self) -> str:
        """Return its own id."""
        return identity.task_id(self.place)


async def list_tasks(client: ServiceClient, cluster: str) -> list[str]:
    """List the ARNs of all tasks of a cluster that are to run. Raises AwsError."""

    async def work() -> list[str]:
        connected = await client.connect()
        pages = connected.get_paginator("list_tasks").paginate(cluster=cluster)
        return [task async for page in pages for task in page["taskArns"]]

    return await _ask_ecs(f"cannot list the tasks of {cluster}", "ecs:ListTasks", work)


async def describe_tasks(client: ServiceClient, cluster: str, tasks: Sequence[str]) -> list[Home]:
    """Describe tasks, by ARN or id, with their tags; unknown ones are left out. Raises AwsError."""
    found: list[Home] = []
    for first in range(0, len(tasks), DESCRIBED):
        asked = list(tasks[first : first + DESCRIBED])

        async def work(asked: list[str] = asked) -> list[dict[str, Any]]:
            connected = await client.connect()
            answer = await connected.describe_tasks(cluster=cluster, tasks=asked, include=["TAGS"])
            return list(answer["tasks"])

        described = await _ask_ecs(f"cannot look at tasks of {cluster}", "ecs:DescribeTasks", work)
        found += [_read_task(task) for task in described]
    return found


async def list_machines(client: ServiceClient, filters: Sequence[Mapping[str, Any]]) -> list[Home]:
    """List the machines that pass filters of DescribeInstances. Raises AwsError."""

    async def work() -> list[dict[str, Any]]:
        connected = await client.connect()
        pages = connected.get_paginator("describe_instances").paginate(Filters=list(filters))
        return [
            instance
            async for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        ]

    call = Call("cannot list the machines", EC2, "ec2:DescribeInstances", "launch_template")
    found = await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)
    return [_read_machine(each) for each in found]


def tag_filter(key: str, value: str) -> dict[str, Any]:
    """Make the filter for machines with a tag that are not terminated."""
    return {"Name": f"tag:{key}", "Values": [value]}


LIVING_FILTER = {"Name": "instance-state-name", "Values": list(LIVING)}


def id_filters(machines: Sequence[str]) -> list[dict[str, Any]]:
    """Make filters by id, as many as are needed: unlike ids by name, unknown ones are no error."""
    return [
        {"Name": "instance-id", "Values": list(machines[first : first + VALUES])}
        for first in range(0, len(machines), VALUES)
    ]


async def _ask_ecs(action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
    call = Call(action, ECS, permission, "LAUNCHER_CLUSTER, LAUNCHER_CLUSTERS", SETTINGS)
    return await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)


def _read_task(task: Mapping[str, Any]) -> Home:
    overrides = task.get("overrides", {}).get("containerOverrides", [])
    return Home(
        task["taskArn"],
        _read_moment(task.get("createdAt")),
        task["lastStatus"] == "STOPPED" or task.get("desiredStatus") == "STOPPED",
        {tag["key"]: tag.get("value", "") for tag in task.get("tags", [])},
        str(task.get("startedBy", "")),
        {
            pair["name"]: str(pair.get("value", ""))
            for container in overrides
            for pair in container.get("environment", [])
        },
    )


def _read_machine(instance: Mapping[str, Any]) -> Home:
    state = instance["State"]["Name"]
    return Home(
        instance["InstanceId"],
        _read_moment(instance.get("LaunchTime")),
        state not in LIVING,
        {tag["Key"]: tag.get("Value", "") for tag in instance.get("Tags", [])},
        halted=state in HALTED,
    )


def _read_moment(moment: Any) -> float:
    """Read a time of the library; what has none is old."""
    return float(moment.timestamp()) if moment is not None else 0.0
