"""Check the roles of the tasks: that they exist, and that tasks may have them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from launcher.doctor.account import explain_unseen
from sidecar.aws.calls import IAM, AwsError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup

TRUSTED = "ecs-tasks.amazonaws.com"


async def check(setup: Setup) -> list[Finding]:
    """Ask IAM for the task role and the execution role of each definition."""
    roles: dict[str, str] = {}
    found = []
    for target in await setup.list_targets():
        definition = await setup.find_definition(target)
        if definition is None:
            continue
        if definition.task_role is None:
            text = f"{target.name}: {definition.name} has no task role, so no task gets its token"
            found.append(failed(text, "set taskRoleArn, with ssm:GetParameter and DeleteParameter"))
        else:
            roles.setdefault(definition.task_role, "task role")
        if definition.execution_role is not None:
            roles.setdefault(definition.execution_role, "execution role")
        elif target.fargate:
            text = f"{target.name}: {definition.name} has no execution role, which Fargate needs"
            found.append(failed(text, "set executionRoleArn"))
    return [*found, *[await _check(setup, arn, kind) for arn, kind in roles.items()]]


async def _check(setup: Setup, arn: str, kind: str) -> Finding:
    try:
        answer = await setup.account.ask(IAM, "get_role", RoleName=arn.rpartition("/")[2])
    except AwsError as error:
        return explain_unseen(error, f"look at the {kind} {arn} in the console")
    if answer is None:
        return failed(f"the {kind} {arn} does not exist", "make it, or correct the task definition")
    if TRUSTED not in _list_trusted(answer["Role"].get("AssumeRolePolicyDocument")):
        return failed(
            f"the {kind} {arn} does not trust ECS", f"let its trust policy name {TRUSTED}"
        )
    return ok(f"the {kind} {arn} exists, and tasks may have it")


def _list_trusted(document: Any) -> str:
    """Return the trust policy as text; the library decodes it or does not, by its version."""
    return unquote(document) if isinstance(document, str) else json.dumps(document)
