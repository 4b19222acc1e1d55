"""Read what a task definition says about the tasks that are started from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar.aws.calls import ECS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.doctor.account import Account

NO_SUCH = frozenset({"ClientException"})
"""What ECS answers where a definition does not exist: "Unable to describe task definition."."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One revision of a task definition."""

    name: str
    """Family and revision."""
    status: str
    task_role: str | None
    execution_role: str | None
    network_mode: str
    cpu: int
    """CPU units of the whole task; 0 where it says nothing."""
    compatibilities: frozenset[str]
    containers: Mapping[str, Mapping[str, Any]] = field(hash=False)
    """Every container by its name, as ECS describes it."""

    def read_variables(self, container: str) -> dict[str, str]:
        """Return the plain variables of a container."""
        found = self.containers.get(container, {}).get("environment") or []
        return {each["name"]: each.get("value", "") for each in found}


async def read_definition(account: Account, name: str) -> Definition | None:
    """Read a definition, by family, family:revision or ARN; None for none. Raises AwsError."""
    answer = await account.ask(ECS, "describe_task_definition", NO_SUCH, taskDefinition=name)
    if answer is None:
        return None
    found = answer["taskDefinition"]
    return Definition(
        f"{found['family']}:{found['revision']}",
        found.get("status", ""),
        found.get("taskRoleArn"),
        found.get("executionRoleArn"),
        found.get("networkMode", "bridge"),
        int(found.get("cpu") or 0),
        frozenset(found.get("compatibilities") or ()),
        {each["name"]: each for each in found.get("containerDefinitions", [])},
    )
