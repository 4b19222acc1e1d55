"""Read pools from task definitions: each family of a prefix whose newest revision is tagged.

The tag `GH:labels` holds the labels with spaces between them, as the fargate launcher has them. All
else that a pool has (cluster, network, capacities) is the same for all of them.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from launcher.places.ecs import ECS
from launcher.pools.document import Problems, read_document
from launcher.pools.labels import SYSTEM_LABELS
from sidecar.aws.calls import Call, backoff
from sidecar.aws.session import ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeVar

    from launcher.pools.pool import Pools

    T = TypeVar("T")

SETTING = "LAUNCHER_POOLS"
LABELS = "GH:labels"
MAXIMUM = 100
"""Runners of each family. A document of pools has a maximum for each pool."""
TIMEOUT = 30.0
"""Seconds after which no more tries of one call are begun."""
_LONGEST_NAME, _DIGITS = 40, 8


class FamilySource(ServiceClient):
    """The task definitions whose family begins with `prefix`; `common` is what all pools have."""

    def __init__(self, prefix: str, common: Mapping[str, Any], region: str | None) -> None:
        super().__init__(ECS, region)
        self._prefix = prefix
        self._common = dict(common)

    async def read(self) -> Pools | Problems:
        """Read the families, and the newest active revision of each."""
        found = [await self._describe(family) for family in await self._list()]
        pools = [
            pool
            for definition, tags in found
            if (pool := make_pool(definition, tags, self._common)) is not None
        ]
        if not pools:
            shown = f"no task definition of a family {self._prefix}* has the tag {LABELS}"
            return Problems((f"{shown} ({SETTING})",))
        return read_document({"pool": pools})

    async def _list(self) -> list[str]:
        async def list_families() -> list[str]:
            client = await self.connect()
            pages = client.get_paginator("list_task_definition_families").paginate(
                familyPrefix=self._prefix, status="ACTIVE"
            )
            return [family async for page in pages for family in page["families"]]

        action = "cannot list the families of task definitions"
        return await self._call(action, "ecs:ListTaskDefinitionFamilies", list_families)

    async def _describe(self, family: str) -> tuple[dict[str, Any], dict[str, str]]:
        async def describe() -> tuple[dict[str, Any], dict[str, str]]:
            client = await self.connect()
            answer = await client.describe_task_definition(taskDefinition=family, include=["TAGS"])
            tags = {tag["key"]: tag.get("value", "") for tag in answer.get("tags", [])}
            return answer["taskDefinition"], tags

        action = f"cannot read the task definition {family}"
        return await self._call(action, "ecs:DescribeTaskDefinition", describe)

    async def _call(self, action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
        call = Call(action, ECS, permission, SETTING)
        return await call_with_retries(lambda: call.run(work), backoff(), seconds=TIMEOUT)


def make_pool(
    definition: Mapping[str, Any], tags: Mapping[str, str], common: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Make the table of a pool; None for a task definition without the tag."""
    if LABELS not in tags:
        return None
    platform = definition.get("runtimePlatform") or {}
    windows = str(platform.get("operatingSystemFamily", "LINUX")).upper().startswith("WINDOWS")
    arm = str(platform.get("cpuArchitecture", "X86_64")).upper() == "ARM64"
    labels = [each for each in tags[LABELS].split() if each.lower() not in SYSTEM_LABELS]
    return {
        **common,
        "name": make_name(definition["family"]),
        "labels": labels,
        "task_definition": definition["family"],  # RunTask starts its newest active revision
        "os": "windows" if windows else "linux",
        "architecture": "arm64" if arm else "x64",
        "maximum": MAXIMUM,
    }


def make_name(family: str) -> str:
    """Make a pool's name of a family; families that differ have names that differ."""
    name = re.sub(r"[^a-z0-9]+", "-", family.lower()).strip("-")
    if name == family and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(family.encode()).hexdigest()[:_DIGITS]
    return f"{name[: _LONGEST_NAME - _DIGITS - 1].strip('-') or 'pool'}-{digest}"
