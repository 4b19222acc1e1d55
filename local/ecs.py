"""ECS's control plane: RunTask, DescribeTasks, StopTask, ListTasks and TagResource.

In process with `serving()`. Each task is an agent that really runs (`AgentHost`): its exit code is
the container's, StopTask sends it SIGTERM and, after the stop timeout, SIGKILL. What ECS checks and
moto does not is checked here: client tokens, which remember refusals too, the size of overrides,
the characters of startedBy, the names of containers. Put `local.faults` in front of it for answers
that fail or get lost.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local import agent, aws, ecs_agent
from local.runner import install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    Starter = Callable[
        [ecs_agent.Agent, Mapping[str, str]], AbstractAsyncContextManager[agent.AgentProcess]
    ]

PREFIX = f"arn:aws:ecs:{aws.REGION}:{aws.ACCOUNT}"
TARGET = "AmazonEC2ContainerServiceV20141113."
PROVIDERS = ("FARGATE", "FARGATE_SPOT")
NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different "
    "availability zone"
)
CANNOT_PULL = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
STOP_TIMEOUT = 30.0
MEMORY = 24 * 3600.0
"""Seconds that a client token is remembered, at most: for an hour after its task's end."""
LONGEST_OVERRIDES = 8192
CONFLICT = (
    "The RunTask request could not be processed due to conflicts. The provided clientToken is "
    "already in use with a different RunTask request."
)


class RefusedError(Exception):
    """An error that ECS answers: its type, its words, and the other members of its shape."""

    def __init__(self, kind: str, message: str, **members: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.members = members


@dataclass(frozen=True)
class TaskDefinition:
    """A registered task definition."""

    family: str = "runner"
    revision: int = 1
    containers: tuple[str, ...] = ("runner",)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of its first container, which holds the agent."""

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"{PREFIX}:task-definition/{self.family}:{self.revision}"


@dataclass
class Drought:
    """RunTask finds no capacity: in one provider or launch type, or in any; so many times."""

    where: str | None = None
    reason: str = NO_CAPACITY
    times: int | None = None
    skip: int = 0
    """How many tasks find room before."""

    def concerns(self, where: str) -> bool:
        """Whether it is there now for this provider or launch type; counts what it refuses."""
        if self.where not in (None, where) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Task:
    """One task: what was asked for, and what has become of it."""

    facts: ecs_agent.Task
    definition: TaskDefinition
    request: dict[str, Any]
    where: str
    """Its capacity provider or launch type."""
    now: Callable[[], float]
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    stopped_at: float | None = None
    process: agent.AgentProcess | None = None
    """The agent, from RUNNING on."""
    story: asyncio.Task[None] | None = None
    asked_to_stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def arn(self) -> str:
        """Its ARN."""
        return self.facts.arn

    @property
    def cluster(self) -> str:
        """The name of its cluster."""
        return self.facts.cluster

    def environment(self) -> dict[str, str]:
        """Return what the task definition and the overrides set in the agent's container."""
        name = self.definition.containers[0]
        overrides = self.request.get("overrides", {}).get("containerOverrides", [])
        return dict(self.definition.environment) | {
            pair["name"]: pair["value"]
            for container in overrides
            if container.get("name") == name
            for pair in container.get("environment", [])
        }

    def stop(self, code: str, reason: str) -> None:
        """Ask it to stop; the first reason counts."""
        if self.desired == "RUNNING":
            self.desired, self.stop_code, self.stopped_reason = "STOPPED", code, reason
            self.asked_to_stop.set()

    def describe(self, *, tags: bool = False) -> dict[str, Any]:
        """Describe it as DescribeTasks does."""
        containers = [
            {
                "containerArn": f"{PREFIX}:container/{self.cluster}/{self.facts.id}/{number}",
                "taskArn": self.arn,
                "name": name,
                "lastStatus": self.status,
            }
            for number, name in enumerate(self.definition.containers)
        ]
        if self.exit_code is not None:
            containers[0]["exitCode"] = self.exit_code  # type: ignore[assignment]
        found = {
            "taskArn": self.arn,
            "clusterArn": f"{PREFIX}:cluster/{self.cluster}",
            "taskDefinitionArn": self.definition.arn,
            "lastStatus": self.status,
            "desiredStatus": self.desired,
            "startedBy": self.request.get("startedBy", ""),
            "group": self.request.get("group", f"family:{self.definition.family}"),
            "overrides": self.request.get("overrides", {}),
            "containers": containers,
            "version": 1,
        }
        found |= {"capacityProviderName" if self.where in PROVIDERS else "launchType": self.where}
        if tags and self.status != "STOPPED":  # a stopped task has none any more
            found["tags"] = [{"key": key, "value": value} for key, value in self.tags.items()]
        if self.desired == "STOPPED":
            found |= {"stopCode": self.stop_code, "stoppedReason": self.stopped_reason}
        if self.stopped_at is not None:
            found["stoppedAt"] = self.stopped_at
        return found


@dataclass
class Remembered:
    """The answer that a client token gives again."""

    request: dict[str, Any]
    tasks: list[Task]
    failures: list[dict[str, Any]]
    at: float

    def is_forgotten(self, now: float) -> bool:
        """Whether ECS knows the token no more."""
        ends = [task.stopped_at + 3600 for task in self.tasks if task.stopped_at is not None]
        until = min([self.at + MEMORY, *ends]) if len(ends) == len(self.tasks) else self.at + MEMORY
        return now >= until


class ControlPlane:
    """ECS as its owner sees it."""

    def __init__(self, start: Starter, now: Callable[[], float]) -> None:
        self.url = ""
        self.clusters = {"runners", "default"}
        self.definitions = [TaskDefinition()]
        self.tasks: list[Task] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """What was asked, oldest first: operation and arguments."""
        self.droughts: list[Drought] = []
        self.failing_starts: list[str] = []
        """The stoppedReason of the next tasks, none of which starts its container."""
        self.missing = 0
        """How many more looks at a task answer MISSING, as they do for a moment after RunTask."""
        self.may_run = asyncio.Event()
        """Cleared: tasks stay in PROVISIONING."""
        self.may_run.set()
        self.stop_timeout = STOP_TIMEOUT
        self._start = start
        self._now = now
        self._tokens: dict[tuple[str, str], Remembered] = {}
        self._changed = asyncio.Condition()

    async def wait_for(self, look: Callable[[], Any], seconds: float = agent.PATIENCE) -> Any:
        """Wait until `look` finds something; it looks at each request and change of a task."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(look), seconds)
        return look()

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """Return the arguments of each call of `operation`, oldest first."""
        return [arguments for name, arguments in self.requests if name == operation]

    def living(self) -> list[Task]:
        """Return the tasks that have not ended."""
        return [task for task in self.tasks if task.status != "STOPPED"]

    # -- HTTP --------------------------------------------------------------------------------

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request of the JSON 1.1 protocol."""
        operation = request.headers.get("X-Amz-Target", "").removeprefix(TARGET)
        try:
            document = self._carry_out(operation, await request.read(), request.headers)
            status = 200
        except RefusedError as error:
            status = 400
            document = {"__type": error.kind, "message": str(error), **error.members}
        await self._ring()
        headers = {"x-amzn-requestid": str(uuid.uuid4())}
        body = json.dumps(document).encode()
        kind = "application/x-amz-json-1.1"
        return web.Response(status=status, body=body, content_type=kind, headers=headers)

    def _carry_out(self, operation: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        if "Authorization" not in headers:
            raise RefusedError("MissingAuthenticationTokenException", "Missing Authentication")
        if operation not in _OPERATIONS:
            raise RefusedError("UnknownOperationException", f"unknown: {operation}")
        arguments = json.loads(body or b"{}")
        self.requests.append((operation, arguments))
        return _OPERATIONS[operation](self, arguments)

    async def _ring(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # -- RunTask -----------------------------------------------------------------------------

    def run_task(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Start tasks, unless the client token says that this was done already."""
        cluster = self._find_cluster(wanted)
        definition = self._find_definition(str(wanted.get("taskDefinition", "")))
        _check_request(wanted, definition)
        token, request = wanted.get("clientToken"), dict(wanted)
        request.pop("clientToken", None)
        if token is None:
            return _answer(self._place(cluster, definition, request))
        known = self._tokens.get((cluster, token))
        if known is None or known.is_forgotten(self._now()):
            known = self._place(cluster, definition, request)
            self._tokens[cluster, token] = known
        elif known.request != request:
            raise RefusedError(
                "ConflictException", CONFLICT, resourceIds=[task.arn for task in known.tasks]
            )
        return _answer(known)

    def _place(
        self, cluster: str, definition: TaskDefinition, request: dict[str, Any]
    ) -> Remembered:
        where = _find_place(request)
        placed = Remembered(request, [], [], self._now())
        for _ in range(request.get("count", 1)):
            drought = next((each for each in self.droughts if each.concerns(where)), None)
            if drought is not None:
                placed.failures.append({"reason": drought.reason})
                continue
            facts = ecs_agent.Task(
                cluster=cluster,
                family=definition.family,
                revision=definition.revision,
                launch_type="FARGATE" if where in PROVIDERS else where,
                service=None,
            )
            tags = {tag["key"]: tag["value"] for tag in request.get("tags", [])}
            task = Task(facts, definition, request, where, self._now, tags=tags)
            task.story = asyncio.get_running_loop().create_task(self._live(task))
            self.tasks.append(task)
            placed.tasks.append(task)
        return placed

    async def _live(self, task: Task) -> None:
        try:
            await self._live_until_end(task)
        finally:
            if not task.stop_code:
                task.stop("EssentialContainerExited", "Essential container in task exited")
            task.status, task.stopped_at = "STOPPED", self._now()
            await self._ring()

    async def _live_until_end(self, task: Task) -> None:
        await _first(self.may_run, task.asked_to_stop)
        if task.asked_to_stop.is_set():
            return
        await self._enter(task, "PENDING")
        if self.failing_starts:
            task.stop("TaskFailedToStart", self.failing_starts.pop(0))
            return
        async with ecs_agent.serving(task=task.facts) as own:
            await own.rotate()
            async with self._start(own, task.environment()) as process:
                task.process = process
                await self._enter(task, "RUNNING")
                task.exit_code = await self._run(task, process)

    async def _run(self, task: Task, process: agent.AgentProcess) -> int:
        ended = asyncio.create_task(process.process.wait())
        stopped = asyncio.create_task(task.asked_to_stop.wait())
        try:
            await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.signal(signal.SIGTERM)
                await asyncio.wait([ended], timeout=self.stop_timeout)
            if not ended.done():
                process.process.kill()
            code = await ended
        finally:
            stopped.cancel()
            ended.cancel()
        return code if code >= 0 else 128 - code

    async def _enter(self, task: Task, status: str) -> None:
        task.status = status
        await self._ring()

    # -- the other operations ----------------------------------------------------------------

    def describe_tasks(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Describe the tasks; what is not known is a failure MISSING."""
        self._find_cluster(wanted)
        asked = wanted.get("tasks", [])
        if not 1 <= len(asked) <= 100:
            raise RefusedError("InvalidParameterException", "Tasks length must be 1 to 100")
        tags = "TAGS" in wanted.get("include", [])
        found, failures = [], []
        for name in asked:
            task = self._find_task(name)
            if task is None or self.missing > 0:
                self.missing = max(0, self.missing - 1)
                failures.append({"arn": name, "reason": "MISSING"})
            else:
                found.append(task.describe(tags=tags))
        return {"tasks": found, "failures": failures}

    def stop_task(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Stop a task: SIGTERM now, SIGKILL after the stop timeout."""
        self._find_cluster(wanted)
        task = self._find_task(wanted.get("task", ""))
        if task is None:
            raise RefusedError("InvalidParameterException", "The referenced task was not found.")
        task.stop("UserInitiated", wanted.get("reason", "Task stopped by user"))
        return {"task": task.describe()}

    def list_tasks(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """List tasks; with `startedBy` those that are to run, and no other filter."""
        cluster = self._find_cluster(wanted)
        started_by, family = wanted.get("startedBy"), wanted.get("family")
        if started_by and (family or wanted.get("desiredStatus")):
            raise RefusedError(
                "InvalidParameterException", "startedBy can only be used as the only filter"
            )
        desired = wanted.get("desiredStatus", "RUNNING")
        return {
            "taskArns": [
                task.arn
                for task in self.tasks
                if task.cluster == cluster
                and task.desired == desired
                and started_by in (None, task.request.get("startedBy"))
                and family in (None, task.definition.family)
            ]
        }

    def tag_resource(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Add tags to a task."""
        task = self._find_task(wanted.get("resourceArn", ""))
        if task is None or task.status == "STOPPED":
            raise RefusedError("InvalidParameterException", "The specified task was not found.")
        task.tags |= {tag["key"]: tag["value"] for tag in wanted.get("tags", [])}
        return {}

    def _find_cluster(self, wanted: dict[str, Any]) -> str:
        name = str(wanted.get("cluster", "default")).rpartition("/")[2]
        if name not in self.clusters:
            raise RefusedError("ClusterNotFoundException", "Cluster not found.")
        return name

    def _find_definition(self, name: str) -> TaskDefinition:
        """Find a definition by ARN, family and revision, or family alone: then the newest."""
        family, _, revision = name.rpartition("/")[2].partition(":")
        found = [
            each
            for each in self.definitions
            if each.family == family and revision in ("", str(each.revision))
        ]
        if not found:
            raise RefusedError("ClientException", "TaskDefinition not found.")
        return max(found, key=lambda each: each.revision)

    def _find_task(self, name: str) -> Task | None:
        own = name.rpartition("/")[2]
        return next((task for task in self.tasks if task.facts.id == own), None)


_OPERATIONS: dict[str, Callable[[ControlPlane, dict[str, Any]], dict[str, Any]]] = {
    "RunTask": ControlPlane.run_task,
    "DescribeTasks": ControlPlane.describe_tasks,
    "StopTask": ControlPlane.stop_task,
    "ListTasks": ControlPlane.list_tasks,
    "TagResource": ControlPlane.tag_resource,
}


def _check_request(wanted: dict[str, Any], definition: TaskDefinition) -> None:
    overrides = wanted.get("overrides", {})
    names = {container.get("name") for container in overrides.get("containerOverrides", [])}
    problems = {
        "Count must be between 1 and 10": not 1 <= wanted.get("count", 1) <= 10,
        "Invalid clientToken": not re.fullmatch(r"[!-~]{1,64}", wanted.get("clientToken", "-")),
        "Invalid startedBy": not re.fullmatch(
            r"[A-Za-z0-9_/-]{0,128}", wanted.get("startedBy", "")
        ),
        f"Overrides cannot exceed {LONGEST_OVERRIDES} characters": (
            len(json.dumps(overrides)) > LONGEST_OVERRIDES
        ),
        f"Override for container named {', '.join(map(str, names))} is not a container in the "
        "TaskDefinition.": not names <= set(definition.containers),
        "Cannot specify both launchType and capacityProviderStrategy": (
            "launchType" in wanted and "capacityProviderStrategy" in wanted
        ),
        "Too many tags": len(wanted.get("tags", [])) > 50,
    }
    for problem, wrong in problems.items():
        if wrong:
            raise RefusedError("InvalidParameterException", problem)


def _find_place(request: dict[str, Any]) -> str:
    """Return the capacity provider or launch type of a request."""
    strategy = request.get("capacityProviderStrategy", [])
    where = strategy[0]["capacityProvider"] if strategy else request.get("launchType", "EC2")
    if strategy and where not in PROVIDERS:
        raise RefusedError(
            "InvalidParameterException",
            "The specified capacity provider was not found. Specify a valid name and try again.",
        )
    if (where in PROVIDERS) and not request.get("networkConfiguration"):
        raise RefusedError(
            "InvalidParameterException",
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        )
    return str(where)


def _answer(known: Remembered) -> dict[str, Any]:
    tasks = [
        {"taskArn": task.arn, "lastStatus": task.status}
        if task.status == "STOPPED"
        else task.describe(tags=True)
        for task in known.tasks
    ]
    return {"tasks": tasks, "failures": known.failures}


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


@dataclass
class AgentHost:
    """Where the tasks' agents run: each with its own folder and its own runner's program."""

    folder: Path
    """A folder that every user may read and write."""
    ssm: str
    """The URL of SSM."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the image sets in each container."""

    @asynccontextmanager
    async def start(
        self, ecs: ecs_agent.Agent, environment: Mapping[str, str]
    ) -> AsyncIterator[agent.AgentProcess]:
        """Start the agent of one task; after the block nothing of it is left."""
        folder = self.folder / ecs.task.id
        folder.mkdir(mode=0o777)
        folder.chmod(0o1777)  # whatever the umask is
        runner = await asyncio.to_thread(install, folder / "runner")
        base = agent.environment(
            ssm=self.ssm,
            ecs=ecs.environment,
            github_url="",
            parameter="",
            runner_folder=runner,
            folder=folder,
        )
        env = {**base, **self.environment, **environment}
        async with agent.AgentProcess.start(agent.COMMAND, env, folder) as process:
            yield process


@asynccontextmanager
async def serving(
    start: Starter,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[ControlPlane]:
    """Serve ECS; every task ends with the block. `start` starts the agent of a task."""
    plane = ControlPlane(start, now)
    server = web.Server(plane.answer, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.01)
    await runner.setup()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        stack.push_async_callback(_end_tasks, plane)
        await web.TCPSite(runner, host, port).start()
        plane.url = f"http://{host}:{runner.addresses[0][1]}"
        yield plane


async def _end_tasks(plane: ControlPlane) -> None:
    stories = [task.story for task in plane.tasks if task.story and not task.story.done()]
    for story in stories:
        story.cancel()
    await asyncio.gather(*stories, return_exceptions=True)
