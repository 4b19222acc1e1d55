"""Start, look at and stop tasks of ECS; what AWS answers becomes started, later or refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from launcher import identity
from launcher.places import Later, Placement, Refused, Started, TaskState, Why
from launcher.places.asking import ask_with_retries
from sidecar.aws import calls
from sidecar.aws.calls import (
    Call,
    backoff,
    explain_denial,
)
from sidecar.aws.session import ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    from aiobotocore.session import AioSession

    T = TypeVar("T")

ECS = replace(calls.ECS, resource="task")
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
DENIED = re.compile(r"not authorized to perform:? (\S+(?: on resource: arn:\S+)?)")


class Ecs(ServiceClient):
    """A client of ECS for one cluster. Every call raises AwsError, in one of its kinds."""

    def __init__(
        self,
        cluster: str,
        container: str,
        region: str | None = None,
        make_session: Callable[[], AioSession] | None = None,
    ) -> None:
        super().__init__(ECS, region, make_session)
        self._cluster = cluster
        self._container = container

    async def start(self, request: dict[str, Any]) -> Placement:
        """Send a request of RunTask; safe to send again.

        Raises TransientError if its outcome is not known: then send the same request again.
        """
        call = Call(START, ECS, "ecs:RunTask", "LAUNCHER_CLUSTER", SETTINGS)
        return await ask_with_retries(lambda: call.run(lambda: self._run_task(request)), TRIES)

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

    async def read_console(self, task: str) -> list[str]:  # noqa: ARG002  as every place has it
        """Return nothing: a task's log is where its task definition sends it."""
        return []

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
        return Refused(
            f"{START}: {explain_denial(text)} (needs {denied[1].replace(' resource:', '')})"
        )
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
    """Say whether a task ended because there was no room for it, though RunTask had started it."""
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
