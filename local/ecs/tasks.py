"""Task definitions, tasks, and what ECS remembers of requests."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local import aws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local import agent, ecs_agent

PREFIX = f"arn:aws:ecs:{aws.REGION}:{aws.ACCOUNT}"
FARGATE = ("FARGATE", "FARGATE_SPOT")
NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different "
    "availability zone"
)
NO_MACHINE = "RESOURCE:MEMORY"
"""Why a task of a capacity provider on EC2 is given up."""
NO_ADDRESS = (
    "Unexpected EC2 error while attempting to Create Network Interface in subnet 'subnet-0': "
    "InsufficientFreeAddressesInSubnet"
)
"""Why a task ends whose subnet has no address left: RunTask has answered 200 before."""
CANNOT_PULL = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
STOP_TIMEOUT = 30.0
MEMORY = 24 * 3600.0
"""Seconds that a client token is remembered, at most: for an hour after its task's end."""
REASONS_KEPT = 3600.0
"""Seconds for which a remembered refusal still has its reasons; then only their number."""


@dataclass(frozen=True)
class TaskDefinition:
    """A registered task definition."""

    family: str = "runner"
    revision: int = 1
    containers: tuple[str, ...] = ("runner",)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of its first container, which holds the agent."""
    tags: Mapping[str, str] = field(default_factory=dict)
    cpu: str = "1024"
    memory: str = "2048"
    task_role: str = aws.TASK_ROLE
    execution_role: str = f"arn:aws:iam::{aws.ACCOUNT}:role/execution"
    image: str = "runner:latest"
    stop_timeout: int | None = None
    """Of its first container; None: the definition says nothing."""
    health_check: Mapping[str, Any] | None = None
    """Of its first container."""
    status: str = "ACTIVE"
    log_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the log driver `awslogs`; empty: its containers have no log driver."""

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"{PREFIX}:task-definition/{self.family}:{self.revision}"

    def describe(self) -> dict[str, Any]:
        """Describe it as DescribeTaskDefinition does."""
        containers: list[dict[str, Any]] = [
            {"name": name, "image": self.image, "essential": True, "environment": []}
            for name in self.containers
        ]
        containers[0]["environment"] = [
            {"name": name, "value": value} for name, value in self.environment.items()
        ]
        if self.stop_timeout is not None:
            containers[0]["stopTimeout"] = self.stop_timeout
        if self.health_check is not None:
            containers[0]["healthCheck"] = dict(self.health_check)
        if self.log_options:
            log = {"logDriver": "awslogs", "options": dict(self.log_options)}
            containers[0]["logConfiguration"] = log
        return {
            "taskDefinitionArn": self.arn,
            "family": self.family,
            "revision": self.revision,
            "status": self.status,
            "containerDefinitions": containers,
            "taskRoleArn": self.task_role,
            "executionRoleArn": self.execution_role,
            "networkMode": "awsvpc",
            "cpu": self.cpu,
            "memory": self.memory,
            "compatibilities": ["EC2", "FARGATE"],
            "requiresCompatibilities": ["FARGATE"],
            "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        }

    def list_tags(self) -> list[dict[str, str]]:
        """List its tags as ECS does."""
        return [{"key": key, "value": value} for key, value in self.tags.items()]


@dataclass
class Task:
    """One task: what was asked for, and what has become of it."""

    facts: ecs_agent.Task
    definition: TaskDefinition
    request: dict[str, Any]
    where: str
    """Its capacity provider or launch type."""
    now: Callable[[], float]
    changed: Callable[[Task], None]
    """Is called after each change that ECS tells of."""
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    version: int = 1
    """Rises with each change."""
    created_at: float = 0.0
    started_at: float | None = None
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

    def enter(self, status: str) -> None:
        """Enter a status."""
        self.status = status
        if status == "RUNNING":
            self.started_at = self.now()
        if status == "STOPPED":
            self.stopped_at = self.now()
        self.tell()

    def tell(self) -> None:
        """Tell of a change."""
        self.version += 1
        self.changed(self)

    def stop(self, code: str, reason: str) -> None:
        """Ask it to stop; the first reason counts."""
        if self.desired == "RUNNING":
            self.desired, self.stop_code, self.stopped_reason = "STOPPED", code, reason
            self.asked_to_stop.set()
            self.tell()

    def interrupt(self) -> None:
        """Take its spot capacity away, as FARGATE_SPOT does."""
        self.stop("SpotInterruption", "Your Spot Task was interrupted.")

    def describe(self, *, tags: bool = False) -> dict[str, Any]:
        """Describe it as DescribeTasks does; times are seconds since 1970."""
        found: dict[str, Any] = {
            "taskArn": self.arn,
            "clusterArn": f"{PREFIX}:cluster/{self.cluster}",
            "taskDefinitionArn": self.definition.arn,
            "lastStatus": self.status,
            "desiredStatus": self.desired,
            "startedBy": self.request.get("startedBy", ""),
            "group": self.request.get("group", f"family:{self.definition.family}"),
            "overrides": self.request.get("overrides", {}),
            "containers": self._describe_containers(),
            "cpu": self.definition.cpu,
            "memory": self.definition.memory,
            "availabilityZone": f"{aws.REGION}a",
            "createdAt": self.created_at,
            "version": self.version,
        }
        found |= {"capacityProviderName" if self.is_by_strategy else "launchType": self.where}
        if tags and self.status != "STOPPED":  # a stopped task has none any more
            found["tags"] = [{"key": key, "value": value} for key, value in self.tags.items()]
        if self.desired == "STOPPED":
            found |= {"stopCode": self.stop_code, "stoppedReason": self.stopped_reason}
        times = {"startedAt": self.started_at, "stoppedAt": self.stopped_at}
        return found | {name: at for name, at in times.items() if at is not None}

    @property
    def is_by_strategy(self) -> bool:
        """Whether it was asked for by a capacity provider strategy."""
        return bool(self.request.get("capacityProviderStrategy"))

    def _describe_containers(self) -> list[dict[str, Any]]:
        containers: list[dict[str, Any]] = [
            {
                "containerArn": f"{PREFIX}:container/{self.cluster}/{self.facts.id}/{number}",
                "taskArn": self.arn,
                "name": name,
                "image": self.definition.image,
                "lastStatus": self.status,
            }
            for number, name in enumerate(self.definition.containers)
        ]
        if self.exit_code is not None:
            containers[0]["exitCode"] = self.exit_code
        if self.stopped_reason.startswith("CannotPull"):
            containers[0]["reason"] = self.stopped_reason
        return containers


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

    def answer(self, now: float) -> dict[str, Any]:
        """Give the answer of RunTask; after an hour a refusal has lost its reasons."""
        tasks = [
            {"taskArn": task.arn, "lastStatus": task.status}
            if task.status == "STOPPED"
            else task.describe(tags=True)
            for task in self.tasks
        ]
        old = now >= self.at + REASONS_KEPT
        return {"tasks": tasks, "failures": [{} for _ in self.failures] if old else self.failures}
