"""Make the request of RunTask: where a task is started, from what, with which variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.places import params

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN_KEY = "SIDECAR_TOKEN_KEY"  # noqa: S105  the name of a variable
"""The variable with the key that opens the task's token, where that is sealed."""

SCOPE = re.compile(r"[\w .:/=+@-]{1,256}")
"""What a tag may hold: EC2 and ECS refuse the whole request for anything else."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A cluster and a task definition, and how tasks are started there."""

    cluster: str
    task_definition: str
    container: str = "runner"
    capacity_providers: tuple[str, ...] = ()
    launch_type: str | None = None
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    public_ip: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    """Variables of the agent's container beside the task definition's; no secret."""
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
        """Count the capacities that are asked in turn: each provider, then each of a single subnet.

        With all subnets Fargate chooses the zone itself, and looks into no other one.
        """
        return max(1, len(self.capacity_providers)) * (1 + len(self._single_subnets))

    def with_token_key(self, key: str) -> Destination:
        """Return the destination of one task, whose token is sealed with the key."""
        return replace(self, environment=(*self.environment, (TOKEN_KEY, key)))

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
        self, token: str, started_by: str, tags: Mapping[str, str], step: int
    ) -> dict[str, Any]:
        """Make the request of a step."""
        return make_request(self, token, started_by, tags, step)


def make_request(
    destination: Destination, token: str, started_by: str, tags: Mapping[str, str], step: int
) -> dict[str, Any]:
    """Make the whole request of RunTask for one task.

    Nothing in it depends on time, so it can be sent again word for word.
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


def read_token_key(request: Mapping[str, Any]) -> str | None:
    """Return the key that the agent of a request's task has; None: its token is not sealed."""
    containers = request.get("overrides", {}).get("containerOverrides", [])
    variables = [each for one in containers for each in one.get("environment", [])]
    return next((each["value"] for each in variables if each["name"] == TOKEN_KEY), None)


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


def make_tags(
    deployment: str, request: str, launch: str, scope: str | None = None
) -> dict[str, str]:
    """Make the tags by which a task and its parameter are known to be ours.

    `scope` is the URL that its runner is registered at.
    """
    return {
        identity.DEPLOYMENT_TAG: deployment,
        identity.REQUEST_TAG: request,
        identity.LAUNCH_TAG: launch,
        **({identity.SCOPE_TAG: scope} if scope and SCOPE.fullmatch(scope) else {}),
    }
