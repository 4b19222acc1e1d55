"""ECS as the launcher uses it: client tokens, droughts, eventual consistency, state events."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.storms.calls import Service, loop_time, refusal
from tests.storms.clock import EPOCH, start_outside

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.storms.calls import Weather

PREFIX = "arn:aws:ecs:eu-central-1:123456789012"
NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different "
    "availability zone"
)
MEMORY = 24 * 3600.0
LATE = 3.0
"""Seconds for which a new task may not be known, at most."""


@dataclass
class Task:
    """One task."""

    arn: str
    request: dict[str, Any]
    began: float
    known: float
    """From when on DescribeTasks knows it."""
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    stop_code: str = ""
    reason: str = ""
    exit_code: int | None = None
    stopped: float | None = None
    runner: str | None = None
    """The name of its agent's runner, once it has one."""
    asked_to_stop: asyncio.Event = field(default_factory=asyncio.Event)
    version: int = 0

    @property
    def id(self) -> str:
        """Its id."""
        return self.arn.rpartition("/")[2]

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return {tag["key"]: tag["value"] for tag in self.request.get("tags", [])}

    def list_tags(self) -> list[dict[str, str]]:
        """List its tags; StopTask takes them."""
        if self.status == "STOPPED" and self.stop_code == "UserInitiated":
            return []
        return [{"key": key, "value": value} for key, value in self.tags.items()]

    @property
    def living(self) -> bool:
        """Whether it has not ended, and is not about to."""
        return self.status != "STOPPED" and self.desired == "RUNNING"

    def stop(self, code: str, reason: str) -> None:
        """Ask it to stop; the first reason counts."""
        if self.desired == "RUNNING":
            self.desired, self.stop_code, self.reason = "STOPPED", code, reason
            self.asked_to_stop.set()

    def describe(self) -> dict[str, Any]:
        """Describe it as DescribeTasks and the state events do."""
        container: dict[str, Any] = {"name": "runner", "lastStatus": self.status}
        if self.exit_code is not None:
            container["exitCode"] = self.exit_code
        found: dict[str, Any] = {
            "taskArn": self.arn,
            "clusterArn": f"{PREFIX}:cluster/{self.request.get('cluster', 'default')}",
            "taskDefinitionArn": f"{PREFIX}:task-definition/{self.request['taskDefinition']}",
            "lastStatus": self.status,
            "desiredStatus": self.desired,
            "startedBy": self.request.get("startedBy", ""),
            "group": "family:runner",
            "overrides": self.request.get("overrides", {}),
            "containers": [container],
            "version": self.version,
            "createdAt": datetime.fromtimestamp(EPOCH + self.began, UTC),
        }
        if self.desired == "STOPPED":
            found |= {"stopCode": self.stop_code, "stoppedReason": self.reason}
        if self.stopped is not None:
            found["stoppedAt"] = "2027-01-15T08:00:00Z"
        return found


@dataclass
class _Remembered:
    request: str
    tasks: list[Task]
    failures: list[dict[str, Any]]
    at: float

    def forgotten(self, now: float) -> bool:
        ends = [task.stopped for task in self.tasks]
        until = self.at + MEMORY
        if ends and None not in ends:
            until = min(until, max(end for end in ends if end is not None) + 3600)
        return now >= until


class Ecs(Service):
    """The control plane; `live` is the agent's life in a task, and returns its exit code."""

    name = "ecs"

    def __init__(self, weather: Weather) -> None:
        self.tasks: dict[str, Task] = {}
        self.live: Callable[[Task], Coroutine[Any, Any, int | None]]
        self.send_event: Callable[[str, float], None] = lambda *_: None
        """Takes an event of EventBridge, and after how many seconds it comes."""
        self.started: Callable[[Task], None] = lambda _: None
        self.droughts: list[tuple[float, float, str | None]] = []
        """From when until when there is no capacity, and in which provider (None: any)."""
        self.broken: list[tuple[float, float]] = []
        """From when until when no task gets its image."""
        self.boot = (3.0, 40.0)
        self.lost_events = 0.0
        """The fraction of events that nobody gets to see, until all is calm."""
        super().__init__(weather)
        self._memory: dict[str, _Remembered] = {}
        self._stories: set[asyncio.Task[None]] = set()

    # -- as its clients see it ---------------------------------------------------------------

    async def run_task(self, **given: Any) -> dict[str, Any]:
        """Start a task, unless the client token says that this was done already."""
        return await self._call("RunTask", lambda: self._run(given))

    async def describe_tasks(self, **given: Any) -> dict[str, Any]:
        """Describe tasks."""
        asked = given["tasks"]

        def act() -> dict[str, Any]:
            if not 1 <= len(asked) <= 100:
                raise refusal("InvalidParameterException", "DescribeTasks", "Tasks cannot be empty")
            now, tasks, failures = loop_time(), [], []
            for each in asked:
                task = self.tasks.get(each.rpartition("/")[2])
                if task is None or now < task.known or now - (task.stopped or now) > 3600:
                    failures.append({"arn": each, "reason": "MISSING"})
                else:
                    tags = {"tags": task.list_tags()} if "TAGS" in given.get("include", []) else {}
                    tasks.append({**task.describe(), **tags})
            return {"tasks": tasks, "failures": failures}

        return await self._call("DescribeTasks", act)

    async def stop_task(self, **given: Any) -> dict[str, Any]:
        """Ask a task to stop."""

        def act() -> dict[str, Any]:
            task = self.tasks.get(given["task"].rpartition("/")[2])
            if task is None or loop_time() - (task.stopped or loop_time()) > 3600:
                text = "The referenced task was not found."
                raise refusal("InvalidParameterException", "StopTask", text)
            if task.status != "STOPPED":
                self._weather.note(f"task {task.id[:6]} is stopped: {given.get('reason', '')}")
                task.stop("UserInitiated", given.get("reason", ""))
                self._event(task)
            return {"task": task.describe()}

        return await self._call("StopTask", act)

    async def list_tasks(self, **given: Any) -> dict[str, Any]:
        """List the running tasks of a cluster, or those with a `startedBy`."""

        def act() -> dict[str, Any]:
            wanted = given.get("startedBy")
            found = [
                task.arn
                for task in self.tasks.values()
                if task.desired == "RUNNING"
                and task.known <= loop_time()
                and wanted in (None, task.request.get("startedBy"))
                and given["cluster"] == task.request.get("cluster", "default")
            ]
            return {"taskArns": found}

        return await self._call("ListTasks", act)

    async def tag_resource(self, **_: Any) -> dict[str, Any]:
        """Tag a task."""
        return await self._call("TagResource", dict)

    # -- tasks -------------------------------------------------------------------------------

    def _run(self, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("count", 1) != 1:
            raise AssertionError("a launch starts one task")
        token = given["clientToken"]
        request = json.dumps(
            {key: value for key, value in given.items() if key != "clientToken"}, sort_keys=True
        )
        held = self._memory.get(token)
        if held is not None and not held.forgotten(loop_time()):
            if held.request != request:
                raise refusal(
                    "ConflictException",
                    "RunTask",
                    "the clientToken is already in use",
                    resourceIds=[task.arn for task in held.tasks],
                )
            self._weather.note(f"RunTask again: {len(held.tasks)} tasks")
        else:
            held = self._memory[token] = self._place(given, request)
        return {
            "tasks": [task.describe() for task in held.tasks],
            "failures": [dict(failure) for failure in held.failures],
        }

    def _place(self, given: dict[str, Any], request: str) -> _Remembered:
        now = loop_time()
        strategy = given.get("capacityProviderStrategy", [{}])[0].get("capacityProvider")
        for begin, end, provider in self.droughts:
            if begin <= now < end and provider in (None, strategy):
                self._weather.note(f"no capacity in {strategy}")
                return _Remembered(request, [], [{"reason": NO_CAPACITY}], now)
        number = f"{self._weather.chance.getrandbits(128):032x}"
        known = now + self._weather.chance.choice((0.0, 0.0, self._weather.chance.uniform(0, LATE)))
        cluster = given.get("cluster", "default")
        task = Task(f"{PREFIX}:task/{cluster}/{number}", dict(given), now, known)
        self.tasks[task.id] = task
        self._weather.note(f"task {task.id[:6]} begins {sorted(task.tags.values())}")
        self.started(task)
        story = start_outside(self._story(task))
        self._stories.add(story)
        story.add_done_callback(self._stories.discard)
        return _Remembered(request, [task], [], now)

    async def _story(self, task: Task) -> None:
        self._event(task)
        if await self._stopped_within(task, self._weather.chance.uniform(*self.boot)):
            return self._end(task, None)
        if any(begin <= loop_time() < end for begin, end in self.broken):
            task.stop("TaskFailedToStart", "CannotPullContainerError: not found")
            return self._end(task, None)
        task.status = "RUNNING"
        self._event(task)
        self._end(task, await self.live(task))
        return None

    async def _stopped_within(self, task: Task, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await task.asked_to_stop.wait()
        except TimeoutError:
            return False
        return True

    def _end(self, task: Task, code: int | None) -> None:
        task.stop("EssentialContainerExited", "Essential container in task exited")
        task.status, task.exit_code, task.stopped = "STOPPED", code, loop_time()
        self._weather.note(f"task {task.id[:6]} has ended: {task.stop_code}, exit code {code}")
        self._event(task)

    def _event(self, task: Task) -> None:
        """Send an event of its state; now and then twice, and out of order."""
        task.version += 1
        event = json.dumps(
            {
                "version": "0",
                "id": f"{task.id}-{task.version}",
                "detail-type": "ECS Task State Change",
                "source": "aws.ecs",
                "account": "123456789012",
                "time": "2027-01-15T08:00:00Z",
                "region": "eu-central-1",
                "resources": [task.arn],
                "detail": task.describe(),
            },
            default=str,
        )
        chance = self._weather.chance
        may_be_lost = self.lost_events > 0 and loop_time() < self._weather.calm
        if may_be_lost and chance.random() < self.lost_events:
            return
        for _ in range(2 if chance.random() < 0.05 else 1):
            self.send_event(event, chance.uniform(0.2, 2.0))
