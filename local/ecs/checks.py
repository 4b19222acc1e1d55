"""Check a request as ECS does before it does anything, and moto does not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from local.ecs.tasks import FARGATE

if TYPE_CHECKING:
    from collections.abc import Collection

    from local.ecs.tasks import TaskDefinition

PROVIDERS = FARGATE
LONGEST_OVERRIDES = 8192


class RefusedError(Exception):
    """An error that ECS answers: its type, its words, and the other members of its shape."""

    def __init__(self, kind: str, message: str, **members: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.members = members


def check_request(wanted: dict[str, Any], definition: TaskDefinition) -> None:
    """Check what RunTask is asked for. Raises RefusedError."""
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


def check_roles(
    wanted: dict[str, Any], definition: TaskDefinition, passable: Collection[str] | None
) -> None:
    """Check that the caller may pass both roles (iam:PassRole); None: it may pass all."""
    overrides = wanted.get("overrides", {})
    roles = (
        overrides.get("taskRoleArn", definition.task_role),
        overrides.get("executionRoleArn", definition.execution_role),
    )
    for role in roles:
        if passable is not None and role not in passable:
            message = (
                "User: arn:aws:sts::123456789012:assumed-role/launcher/x is not authorized to "
                f"perform: iam:PassRole on resource: {role} because no identity-based policy "
                "allows the iam:PassRole action"
            )
            raise RefusedError("AccessDeniedException", message)


def find_place(request: dict[str, Any], machines: Collection[str]) -> str:
    """Return the capacity provider or launch type of a request. Raises RefusedError.

    `machines` are the capacity providers on EC2.
    """
    strategy = request.get("capacityProviderStrategy", [])
    where = strategy[0]["capacityProvider"] if strategy else request.get("launchType", "EC2")
    if strategy and where not in (*FARGATE, *machines):
        raise RefusedError(
            "InvalidParameterException",
            "The specified capacity provider was not found. Specify a valid name and try again.",
        )
    if (where in FARGATE) and not request.get("networkConfiguration"):
        raise RefusedError(
            "InvalidParameterException",
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        )
    return str(where)
