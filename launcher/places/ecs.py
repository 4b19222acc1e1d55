"""Start, look at and stop tasks of ECS; what AWS answers becomes started, later or refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from launcher import identity
from launcher.places import Later, Placement, Refused, Started, TaskState, Why, params
from sidecar.aws.calls import (
    Call,
    RateLimited,
    Service,
    TransientError,
    backoff,
    explain_denial,
)
from sidecar.aws.session import ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

ECS = Service("ecs", "ECS", "task")
TRIES = 5
"""Of one call, with growing pauses; a request of RunTask is repeated with its client token."""
DESCRIBED = 100
"""Tasks that one call describes."""
START = "cannot start a task"
SETTINGS = {
    "ClusterNotFoundException": "there is no such cluster (LAUNCHER_CLUSTER)",
    "PlatformUnknownException": "ECS does not know the platform version",
    "PlatformTaskDefinitionIncompatibilityException": (
        "the platform cannot run this task definition (LAUNCHER_TASK_DEFINITION)"
    ),
    "UnsupportedFeatureException": "ECS does not offer a wanted feature in this region",
    "BlockedException": "AWS has blocked the account: ask AWS's support",
}
"""Refusals that mean one thing only."""
CAPACITY = ("RESOURCE", "AGENT", "capacity is unavailable", "insufficient capacity")
"""How a reason in `failures` begins, or what it contains, where there is no capacity now."""
QUOTA = re.compile(r"reached the limit|limit exceeded|quota|too many .*PROVISIONING", re.IGNORECASE)
THROTTLE = re.compile(r"throttl|rate exceeded", re.IGNORECASE)
NO_ROOM = re.compile(
    r"TaskFailedToStart: (RESOURCE|AGENT)|capacity is unavailable|insufficient capacity"
    r"|insufficient free addresses|does not have enough (free|available) (ip )?addresses"
    r"|unexpected EC2 error while attempting to (create|attach) network interface"
    r"|SpotInterruption|TerminationNotice|InfrastructureHealth",
    re.IGNORECASE,
)
"""How an end reads that is no fault of the task's own."""
INTERRUPTIONS = ("SpotInterruption", "TerminationNotice")
"""Stop codes of a task whose Spot capacity was taken back."""
DENIED = re.compile(r"not authorized to perform:? (\S+)")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where tasks are started, and from what."""

    cluster: str
    task_definition: str
    container: str = "runner"
    capacity_providers: tuple[str, ...] = ()
    launch_type: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    public_ip: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    """What the agent's container is told beside the task definition; no secret."""
    cpu: int | None = None
    """CPU units; None leaves it to the task definition, as for the next two."""
    memory: int | None = None
    """MiB."""
    ephemeral_storage: int | None = None
    """GiB."""
    tags: tuple[tuple[str, str], ...] = ()
    """Tags of the task, beside the launcher's own."""
    task_role: str | None = None
    execution_role: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """More parameters of RunTask; what the fields above say wins over them."""

    @property
    def steps(self) -> int:
        """How many capacities can be asked in turn: each provider, then each of a single subnet.

        With all subnets Fargate chooses the zone itself, and looks into no other one.
        """
        return max(1, len(self.capacity_providers)) * (1 + len(self._single_subnets))

    @property
    def _single_subnets(self) -> tuple[str, ...]:
        return self.subnets if len(self.subnets) > 1 else ()

    def choose(self, step: int) -> tuple[str | None, tuple[str, ...]]:
        """Return the capacity provider and the subnets of a step, which a reload may have lost."""
        providers = self.capacity_providers or (None,)
        turn, which = divmod(step % self.steps, len(providers))
        subnets = self.subnets if turn == 0 else (self._single_subnets[turn - 1],)
        return providers[which], subnets


def make_request(
    destination: Destination, token: str, started_by: str, tags: dict[str, str], step: int
) -> dict[str, Any]:
    """Make the whole request of RunTask for one task.

    Nothing in it depends on time or chance, so it can be sent again word for word.
    """
    request: dict[str, Any] = {
        "cluster": destination.cluster,
        "taskDefinition": destination.task_definition,
        "count": 1,
        "clientToken": token,
        "startedBy": started_by,
        "tags": [{"key": key, "value": value} for key, value in sorted(tags.items())],
        "overrides": _make_overrides(destination),
    }
    given = {key: value for key, value in destination.params.items() if key not in params.OWN}
    provider, subnets = destination.choose(step)
    if provider is not None:
        request["capacityProviderStrategy"] = [{"capacityProvider": provider, "weight": 1}]
        given.pop("launchType", None)  # ECS takes one of the two
    elif destination.launch_type is not None:
        request["launchType"] = destination.launch_type
        given.pop("capacityProviderStrategy", None)
    if subnets:
        network = {
            "subnets": list(subnets),
            "securityGroups": list(destination.security_groups),
            "assignPublicIp": "ENABLED" if destination.public_ip else "DISABLED",
        }
        request["networkConfiguration"] = {"awsvpcConfiguration": network}
    return params.merge({"enableECSManagedTags": True}, given, request)


def _make_overrides(destination: Destination) -> dict[str, Any]:
    """Make the overrides: environment, roles, size; ECS wants CPU and memory as text."""
    environment = [{"name": name, "value": value} for name, value in destination.environment]
    container = {"name": destination.container, "environment": environment}
    overrides: dict[str, Any] = {"containerOverrides": [container]}
    if destination.task_role:
        overrides["taskRoleArn"] = destination.task_role
    if destination.execution_role:
        overrides["executionRoleArn"] = destination.execution_role
    if destination.cpu is not None:
        overrides["cpu"] = str(destination.cpu)
    if destination.memory is not None:
        overrides["memory"] = str(destination.memory)
    if destination.ephemeral_storage is not None:
        overrides["ephemeralStorage"] = {"sizeInGiB": destination.ephemeral_storage}
    return overrides


class Ecs(ServiceClient):
    """A client of ECS for one cluster. Every call raises AwsError, in one of its kinds."""

    def __init__(self, cluster: str, container: str, region: str | None = None) -> None:
        super().__init__(ECS, region)
        self._cluster = cluster
        self._container = container

    async def start(self, request: dict[str, Any]) -> Placement:
        """Send a request of RunTask; safe to send again.

        Raises TransientError if its outcome is not known: then send the same request again.
        """
        call = Call(START, ECS, "ecs:RunTask", "LAUNCHER_CLUSTER", SETTINGS)
        is_lost = False

        async def once() -> Placement:
            nonlocal is_lost
            try:
                return await call.run(lambda: self._run_task(request))
            except RateLimited:
                raise
            except TransientError:
                is_lost = True
                raise

        try:
            return await call_with_retries(once, backoff(), tries=TRIES)
        except RateLimited as error:
            if is_lost:  # an earlier one may have started it
                raise TransientError(str(error)) from error
            return Later(Why.THROTTLE, str(error))

    async def _run_task(self, request: dict[str, Any]) -> Placement:
        client = await self.connect()
        try:
            answer = await client.run_task(**request)
        except ClientError as error:
            if (refusal := _translate(error)) is not None:
                return refusal
            raise
        return _read_answer(answer)

    async def look(self, tasks: Sequence[str]) -> dict[str, TaskState]:
        """Describe tasks, by id; those that ECS does not know (yet, or any more) are left out."""
        found: dict[str, TaskState] = {}
        for first in range(0, len(tasks), DESCRIBED):
            asked = list(tasks[first : first + DESCRIBED])

            async def look(asked: list[str] = asked) -> list[dict[str, Any]]:
                client = await self.connect()
                answer = await client.describe_tasks(cluster=self._cluster, tasks=asked)
                return list(answer["tasks"])

            action = "cannot look at the tasks"
            for task in await self._call(action, "ecs:DescribeTasks", look):
                found[identity.task_id(task["taskArn"])] = read_state(task, self._container)
        return found

    async def stop(self, task: str, reason: str) -> None:
        """Stop a task; one that has ended, or is not known any more, is no error."""

        async def stop() -> None:
            client = await self.connect()
            try:
                await client.stop_task(cluster=self._cluster, task=task, reason=reason[:255])
            except ClientError as error:
                if "not found" not in str(error) or _code(error) != "InvalidParameterException":
                    raise

        await self._call(f"cannot stop {task}", "ecs:StopTask", stop)

    async def find(self, started_by: str) -> list[str]:
        """List the running tasks with this `startedBy`."""

        async def find() -> list[str]:
            client = await self.connect()
            pages = client.get_paginator("list_tasks").paginate(
                cluster=self._cluster, startedBy=started_by
            )
            return [task async for page in pages for task in page["taskArns"]]

        return await self._call("cannot list the tasks", "ecs:ListTasks", find)

    async def _call(self, action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
        call = Call(action, ECS, permission, "LAUNCHER_CLUSTER", SETTINGS)
        return await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)


def _read_answer(answer: dict[str, Any]) -> Placement:
    if answer["tasks"]:
        return Started(answer["tasks"][0]["taskArn"])
    reasons = [_reason(failure) for failure in answer["failures"]]
    text = f"{START}: {'; '.join(reasons) or 'ECS gives no reason'}"
    if not reasons or any(_is_capacity(reason) for reason in reasons):
        return Later(Why.CAPACITY, text)
    if any(QUOTA.search(reason) for reason in reasons):
        return Later(Why.QUOTA, text)
    return Refused(f"{text} (LAUNCHER_TASK_DEFINITION, LAUNCHER_CLUSTER)")


def _reason(failure: dict[str, Any]) -> str:
    parts = (failure.get("reason"), failure.get("detail"))
    return ": ".join(part for part in parts if part)


def _is_capacity(reason: str) -> bool:
    return any(reason.startswith(word) or word in reason.lower() for word in CAPACITY)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _translate(error: ClientError) -> Placement | None:
    """Translate what only RunTask answers; None leaves it to what all calls have in common."""
    code, text = _code(error), str(error.response.get("Error", {}).get("Message", ""))
    if code == "ConflictException":
        return _adopt(error, text)
    if code in SETTINGS:
        return Refused(f"{START}: {SETTINGS[code]}")
    if code == "AccessDeniedException" and (denied := DENIED.search(text)):
        return Refused(f"{START}: {explain_denial(text)} (needs {denied[1]})")
    if code in ("InvalidParameterException", "ClientException", "LimitExceededException"):
        if THROTTLE.search(text):  # a throttle in another error's coat
            return Later(Why.THROTTLE, f"{START}: {text}")
        if code == "LimitExceededException" or QUOTA.search(text):
            return Later(Why.QUOTA, f"{START}: {text}")
        named = "LAUNCHER_TASK_DEFINITION" if "TaskDefinition" in text else "the settings of tasks"
        return Refused(f"{START}: {text} ({named})")
    return None


def _adopt(error: ClientError, text: str) -> Placement:
    """Take over the task that an earlier, different request with this client token started."""
    if tasks := error.response.get("resourceIds"):
        return Started(tasks[0], adopted=True)
    return Later(Why.CAPACITY, f"{START}: {text}")  # that request was refused


def lacks_room(reason: str) -> bool:
    """Whether a task ended because there was no room for it: RunTask's good answer told less."""
    return bool(NO_ROOM.search(reason))


def read_state(task: dict[str, Any], container: str) -> TaskState:
    """Read a task as DescribeTasks and events show it; `container` is the agent's."""
    own: dict[str, Any] = next(
        (each for each in task.get("containers", []) if each["name"] == container), {}
    )
    reasons = (task.get("stopCode"), task.get("stoppedReason"), own.get("reason"))
    return TaskState(
        task["taskArn"],
        task["lastStatus"],
        task["lastStatus"] == "STOPPED" or task.get("desiredStatus") == "STOPPED",
        own.get("exitCode"),
        ": ".join(dict.fromkeys(reason for reason in reasons if reason)),  # ECS repeats itself
    )


def make_tags(deployment: str, request: str, launch: str) -> dict[str, str]:
    """Make the tags by which a task and its parameter are known to be ours."""
    return {
        identity.DEPLOYMENT_TAG: deployment,
        identity.REQUEST_TAG: request,
        identity.LAUNCH_TAG: launch,
    }
