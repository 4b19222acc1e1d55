"""Check the task definitions: that they are active, and fit what is asked of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.account import explain_unseen
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from launcher.doctor.definition import Definition
    from launcher.doctor.setup import Setup
    from launcher.doctor.target import Target

AWSVPC = "awsvpc"


async def check(setup: Setup) -> list[Finding]:
    """Read each definition as RunTask would."""
    found = []
    for target in await setup.list_targets():
        try:
            definition = await setup.definition(target.task_definition)
        except AwsError as error:
            found.append(explain_unseen(error, "look at it in the console"))
            continue
        if definition is None:
            text = f"{target.name}: there is no task definition {target.task_definition}"
            found.append(failed(text, "register it, or correct its name or region"))
        else:
            found += _judge(target, definition)
    return found


def _judge(target: Target, definition: Definition) -> list[Finding]:
    where = f"{target.name}: the task definition {definition.name}"
    if definition.status != "ACTIVE":
        change = "register it anew, or name another revision"
        return [failed(f"{where} is {definition.status}: no task can be started from it", change)]
    found = []
    if target.container not in definition.containers:
        names = ", ".join(definition.containers)
        text = f"{where} has no container {target.container}, it has {names}"
        found.append(failed(text, "correct the name of the agent's container"))
    if target.fargate and "FARGATE" not in definition.compatibilities:
        change = "register it with requiresCompatibilities FARGATE, or use other capacity"
        found.append(failed(f"{where} cannot run on Fargate", change))
    if definition.network_mode == AWSVPC and not target.network.subnets:
        text = f"{where} gives tasks a network interface, and no subnet is named"
        found.append(failed(text, "name subnets"))
    return found or [ok(f"{where} is active")]
