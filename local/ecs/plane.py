"""The control plane: RunTask, DescribeTasks, StopTask, ListTasks, TagResource, definitions."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local import agent, ecs_agent
from local.ecs.checks import RefusedError, check_request, check_roles, find_place
from local.ecs.events import Teller
from local.ecs.tasks import (
    FARGATE,
    NO_CAPACITY,
    STOP_TIMEOUT,
    Remembered,
    Task,
    TaskDefinition,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from local.ecs.events import Tell

    Starter = Callable[
        [ecs_agent.Agent, Mapping[str, str]], AbstractAsyncContextManager[agent.AgentProcess]
    ]

TARGET = "AmazonEC2ContainerServiceV20141113."
CONFLICT = (
    "The RunTask request could not be processed due to conflicts. The provided clientToken is "
    "already in use with a different RunTask request."
)
TOO_MANY_PROVISIONING = (
    "You've reached the limit on the number of tasks you can provision in a cluster."
)


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


class ControlPlane:
    """ECS as its owner sees it."""

    def __init__(self, start: Starter, now: Callable[[], float], tell: Tell | None = None) -> None:
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
        self.machines: set[str] = {"machines"}
        """The capacity providers on EC2: no drought there is told by RunTask."""
        self.machines_come = asyncio.Event()
        """Cleared: tasks of these providers stay in PROVISIONING."""
        self.machines_come.set()
        self.no_machines: list[str] = []
        """The stoppedReason of the next tasks there, which get no machine (NO_MACHINE)."""
        self.most_provisioning = 500
        """Tasks of one cluster that may be in PROVISIONING."""
        self.passable: set[str] | None = None
        """The roles that callers may pass; None: all."""
        self.events = Teller(tell)
        self.stop_timeout = STOP_TIMEOUT
        self._start = start
        self._now = now
        self._tokens: dict[tuple[str, str], Remembered] = {}
        self._changed = asyncio.Condition()
        self._rung = asyncio.Event()

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
        check_request(wanted, definition)
        check_roles(wanted, definition, self.passable)
        token, request = wanted.get("clientToken"), dict(wanted)
        request.pop("clientToken", None)
        if token is None:
            return self._place(cluster, definition, request).answer(self._now())
        known = self._tokens.get((cluster, token))
        if known is None or known.is_forgotten(self._now()):
            known = self._place(cluster, definition, request)
            self._tokens[cluster, token] = known
        elif known.request != request:
            raise RefusedError(
                "ConflictException", CONFLICT, resourceIds=[task.arn for task in known.tasks]
            )
        return known.answer(self._now())

    def _place(
        self, cluster: str, definition: TaskDefinition, request: dict[str, Any]
    ) -> Remembered:
        where = find_place(request, self.machines)
        provisioning = [each for each in self.living() if each.status == "PROVISIONING"]
        if where in self.machines and len(provisioning) >= self.most_provisioning:
            raise RefusedError("ClientException", TOO_MANY_PROVISIONING)
        placed = Remembered(request, [], [], self._now())
        for _ in range(request.get("count", 1)):
            drought = next((each for each in self.droughts if each.concerns(where)), None)
            if drought is not None and where not in self.machines:
                placed.failures.append({"reason": drought.reason})
                continue
            facts = ecs_agent.Task(
                cluster=cluster,
                family=definition.family,
                revision=definition.revision,
                launch_type="FARGATE" if where in FARGATE else _launch_type(where),
                service=None,
            )
            tags = {tag["key"]: tag["value"] for tag in request.get("tags", [])}
            now = self._now()
            task = Task(facts, definition, request, where, self._now, self._note, tags=tags)
            task.created_at = now
            self._note(task)
            task.story = asyncio.get_running_loop().create_task(self._live(task))
            self.tasks.append(task)
            placed.tasks.append(task)
        return placed

    def _note(self, task: Task) -> None:
        self.events.note(task)
        self._rung.set()

    async def _ring_when_noted(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            await self._ring()

    async def watch(self) -> None:
        """Tell of changes, and wake who waits for them; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ring_when_noted())
            group.create_task(self.events.run())

    async def _live(self, task: Task) -> None:
        try:
            await self._live_until_end(task)
        finally:
            if not task.stop_code:
                task.stop("EssentialContainerExited", "Essential container in task exited")
            task.enter("STOPPED")

    async def _live_until_end(self, task: Task) -> None:
        await _first(self.may_run, task.asked_to_stop)
        if task.asked_to_stop.is_set():
            return
        if task.where in self.machines:
            await _first(self.machines_come, task.asked_to_stop)
            if self.no_machines and not task.asked_to_stop.is_set():
                task.stop("TaskFailedToStart", self.no_machines.pop(0))
            if task.asked_to_stop.is_set():
                return
        task.enter("PENDING")
        if self.failing_starts:
            task.stop("TaskFailedToStart", self.failing_starts.pop(0))
            return
        async with ecs_agent.serving(task=task.facts) as own:
            await own.rotate()
            async with self._start(own, task.environment()) as process:
                task.process = process
                task.enter("RUNNING")
                task.exit_code = await self._run(task, process)

    async def _run(self, task: Task, process: agent.AgentProcess) -> int:
        ended = asyncio.create_task(process.process.wait())
        stopped = asyncio.create_task(task.asked_to_stop.wait())
        try:
            await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                with suppress(ProcessLookupError):  # it ends just now
                    process.signal(signal.SIGTERM)
                await asyncio.wait([ended], timeout=self.stop_timeout)
            if not ended.done():
                process.process.kill()
            code = await ended
        finally:
            stopped.cancel()
            ended.cancel()
        return code if code >= 0 else 128 - code

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

    def describe_task_definition(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Describe a task definition, and its tags where they are asked for."""
        found = self._find_definition(str(wanted.get("taskDefinition", "")))
        tags = {"tags": found.list_tags()} if "TAGS" in wanted.get("include", []) else {}
        return {"taskDefinition": found.describe(), **tags}

    def list_families(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """List families of task definitions; a page holds 100."""
        prefix = wanted.get("familyPrefix", "")
        found = sorted({each.family for each in self.definitions})
        return _page("families", [each for each in found if each.startswith(prefix)], wanted)

    def list_definitions(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """List the ARNs of a family's task definitions, or of all."""
        prefix = wanted.get("familyPrefix")
        found = [each for each in self.definitions if prefix in (None, each.family)]
        found.sort(key=lambda each: each.revision, reverse=wanted.get("sort") == "DESC")
        return _page("taskDefinitionArns", [each.arn for each in found], wanted)

    def list_tags(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """List the tags of a task or a task definition."""
        arn = str(wanted.get("resourceArn", ""))
        if (task := self._find_task(arn)) is not None:
            return {"tags": task.describe(tags=True).get("tags", [])}
        return {"tags": self._find_definition(arn).list_tags()}

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
    "DescribeTaskDefinition": ControlPlane.describe_task_definition,
    "ListTaskDefinitionFamilies": ControlPlane.list_families,
    "ListTaskDefinitions": ControlPlane.list_definitions,
    "ListTagsForResource": ControlPlane.list_tags,
}


def _page(name: str, found: list[str], wanted: dict[str, Any]) -> dict[str, Any]:
    begins, most = int(wanted.get("nextToken") or 0), int(wanted.get("maxResults") or 100)
    end = begins + most
    more = {"nextToken": str(end)} if end < len(found) else {}
    return {name: found[begins:end], **more}


def _launch_type(where: str) -> str:
    return where if where in ("EC2", "EXTERNAL") else "EC2"


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


@asynccontextmanager
async def serving(
    start: Starter,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    now: Callable[[], float] = time.time,
    tell: Tell | None = None,
) -> AsyncIterator[ControlPlane]:
    """Serve ECS; every task ends with the block. `start` starts the agent of a task.

    `tell` gets each event of a task, one after the other.
    """
    plane = ControlPlane(start, now, tell)
    server = web.Server(plane.answer, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.01)
    await runner.setup()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        watching = asyncio.create_task(plane.watch())
        stack.push_async_callback(_end, watching)
        stack.push_async_callback(_end_tasks, plane)
        await web.TCPSite(runner, host, port).start()
        plane.url = f"http://{host}:{runner.addresses[0][1]}"
        yield plane


async def _end_tasks(plane: ControlPlane) -> None:
    stories = [task.story for task in plane.tasks if task.story and not task.story.done()]
    for story in stories:
        story.cancel()
    await asyncio.gather(*stories, return_exceptions=True)


async def _end(watching: asyncio.Task[None]) -> None:
    """End a task of this program; what went wrong in it is raised."""
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
