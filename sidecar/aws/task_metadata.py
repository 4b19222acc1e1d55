"""Read what the ECS agent says about the task (task metadata endpoint, version 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import aiohttp
import structlog

from sidecar.aws import ecr
from sidecar.net.deadlines import describe_failure
from sidecar.net.marked_sockets import connector

log = structlog.get_logger()

DEADLINE = 1.5
"""Seconds; the endpoint is on the same machine, and nothing depends on the answer."""
ID_SHOWN = 12
"""Characters of the task's id in the runner's name: enough to find the task."""


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """Facts about the task; all empty outside ECS."""

    arn: str = ""
    zone: str = ""
    launch_type: str = ""
    network_modes: frozenset[str] = frozenset()
    """Of the task's containers; in ECS they all have the same."""
    definition: str = ""
    """Its task definition, as FAMILY:REVISION."""
    service: str = ""
    """The name of the service that it belongs to; empty for a task that was started alone."""
    title: ClassVar[str] = "ECS task"

    @property
    def id(self) -> str:
        """The task's id: the last part of its ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def ecr_registry(self) -> str | None:
        """The private ECR registry of the task's account and region; None if they are unknown."""
        return ecr.registry_of_arn(self.arn)

    @property
    def shown_id(self) -> str:
        """The part of the id that stands in the runner's name."""
        return self.id[:ID_SHOWN]

    @property
    def lines(self) -> dict[str, str]:
        """The lines that every job's first log group shows."""
        return {"Task": self.arn, "Zone": self.zone, "Launch type": self.launch_type}


async def read_task_facts(metadata_uri: str | None, *, so_mark: bool = False) -> TaskFacts:
    """Read `<metadata_uri>/task`; a failure is a log line and empty facts.

    `so_mark`: on an SO_MARK socket, because rules may redirect any other.
    """
    if metadata_uri is None:
        return TaskFacts()
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    try:
        facts = await _read_document(f"{metadata_uri}/task", so_mark=so_mark)
        return TaskFacts(
            str(facts.get("TaskARN") or ""),
            str(facts.get("AvailabilityZone") or ""),
            str(facts.get("LaunchType") or ""),
            _network_modes(facts),
            _name_definition(facts),
            str(facts.get("ServiceName") or ""),
        )
    except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError, TypeError) as error:
        log.warning("task.metadata_failed", reason=describe_failure(error, timeout))
        return TaskFacts()


async def read_container_name(metadata_uri: str, *, so_mark: bool = False) -> str:
    """Return the name that this container has in its task definition; "" if it is not told."""
    try:
        return str((await _read_document(metadata_uri, so_mark=so_mark)).get("Name") or "")
    except (aiohttp.ClientError, TimeoutError, ValueError, AttributeError):
        return ""


async def _read_document(url: str, *, so_mark: bool) -> Any:
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with (
        aiohttp.ClientSession(
            timeout=timeout, trust_env=False, connector=connector(so_mark=so_mark)
        ) as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        answer.raise_for_status()
        return await answer.json(content_type=None)


def _name_definition(facts: Any) -> str:
    family, revision = facts.get("Family"), facts.get("Revision")
    return f"{family}:{revision}" if family and revision else ""


def _network_modes(facts: Any) -> frozenset[str]:
    networks = [
        network
        for container in facts.get("Containers") or ()
        for network in container.get("Networks") or ()
    ]
    return frozenset(str(network.get("NetworkMode") or "unknown") for network in networks)
