"""The control plane: what there is, RunTask, and how the tasks that it starts live."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from local import agent, ecs_agent
from local.calls import find_calls
from local.ecs.checks import RefusedError, check_request, check_roles, find_place
from local.ecs.events import Teller
from local.ecs.tasks import (
    FARGATE,
    STOP_TIMEOUT,
    Remembered,
    Task,
    TaskDefinition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from local.ecs.droughts import Drought
    from local.telling import Tell

    Starter = Callable[
        [ecs_agent.Agent, Mapping[str, str]], AbstractAsyncContextManager[agent.AgentProcess]
    ]

CONFLICT = (
    "The RunTask request could not be processed due to conflicts. The provided clientToken is "
    "already in use with a different RunTask request."
)
TOO_MANY_PROVISIONING = (
    "You've reached the limit on the number of tasks you can provision in a cluster."
)


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

    def asked(self, operation: str, *, once: bool = False) -> list[dict[str, Any]]:
        """Return the arguments of each call of `operation` (`local.calls.find_calls`)."""
        return find_calls(self.requests, operation, once=once)

    def living(self) -> list[Task]:
        """Return the tasks that have not ended."""
        return [task for task in self.tasks if task.status != "STOPPED"]

    async def ring(self) -> None:
        """Wake who waits for a request, or for a change of a task."""
        async with self._changed:
            self._changed.notify_all()

    # -- RunTask -----------------------------------------------------------------------------

    def run_task(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Start tasks, unless the client token says that this was done already."""
        cluster = self.find_cluster(wanted)
        definition = self.find_definition(str(wanted.get("taskDefinition", "")))
        if definition.status != "ACTIVE":
            raise RefusedError("ClientException", "TaskDefinition is inactive")
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
            await self.ring()

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

    # -- what is asked for -------------------------------------------------------------------

    def find_cluster(self, wanted: dict[str, Any]) -> str:
        """Find the cluster that a request names. Raises RefusedError."""
        name = str(wanted.get("cluster", "default")).rpartition("/")[2]
        if name not in self.clusters:
            raise RefusedError("ClusterNotFoundException", "Cluster not found.")
        return name

    def find_definition(self, name: str) -> TaskDefinition:
        """Find a definition by ARN, family and revision, or family alone: then the newest."""
        family, _, revision = name.rpartition("/")[2].partition(":")
        found = [
            each
            for each in self.definitions
            if each.family == family
            and (str(each.revision) == revision or (not revision and each.status == "ACTIVE"))
        ]
        if not found:
            raise RefusedError("ClientException", "TaskDefinition not found.")
        return max(found, key=lambda each: each.revision)

    def find_task(self, name: str) -> Task | None:
        """Find a task by ARN or id."""
        own = name.rpartition("/")[2]
        return next((task for task in self.tasks if task.facts.id == own), None)


def _launch_type(where: str) -> str:
    return where if where in ("EC2", "EXTERNAL") else "EC2"


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
