"""List the calls of AWS that a launch makes, each with its resource and the keys of conditions.

They are those of the deployed worker's role (`launcher/deploy/launcher.yaml`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.doctor.setup import Setup

TASKS = "ecs-tasks.amazonaws.com"
Context = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Right:
    """An action on a resource."""

    action: str
    resource: str
    context: Context = ()
    """The keys of conditions that the call has, and their values."""


async def list_launcher_rights(setup: Setup, role: str) -> list[Right]:
    """List what the launcher's role has to be allowed."""
    _, partition, _, _, account, *_ = role.split(":")
    place = f"arn:{partition}:{{}}:{setup.account.region or ''}:{account}:{{}}"
    prefix = setup.settings.parameter_prefix.strip("/")
    tokens = place.format("ssm", f"parameter/{prefix}/0123456789abcdef0123456789abcdef")
    found = [Right(f"ssm:{name}", tokens) for name in ("PutParameter", "DeleteParameter")]
    found += list(_list_records(setup, place))
    for target in await setup.list_targets():
        name = target.cluster.rpartition("/")[2]
        cluster = place.format("ecs", f"cluster/{name}")
        task = place.format("ecs", f"task/{name}/0123456789abcdef0123456789abcdef")
        within: Context = (("ecs:cluster", cluster),)
        definition = await setup.find_definition(target)
        if definition is None:
            continue
        started = place.format("ecs", f"task-definition/{definition.name}")
        found += [
            Right("ecs:RunTask", started, within),
            *(Right(f"ecs:{name}", task, within) for name in ("DescribeTasks", "StopTask")),
            Right("ecs:TagResource", task, (("ecs:CreateAction", "RunTask"),)),
        ]
        passed: Context = (("iam:PassedToService", TASKS),)
        roles = (definition.execution_role, definition.task_role)
        found += [Right("iam:PassRole", each, passed) for each in roles if each is not None]
    return list(dict.fromkeys(found))


def _list_records(setup: Setup, place: str) -> Iterator[Right]:
    settings = setup.settings
    if settings.table is not None:
        table = place.format("dynamodb", f"table/{settings.table.rpartition('/')[2]}")
        yield from (Right(f"dynamodb:{name}", table) for name in ("GetItem", "UpdateItem"))
    if settings.queue_url is not None:
        queue = place.format("sqs", settings.queue_url.rpartition("/")[2])
        names = ("ReceiveMessage", "DeleteMessage", "SendMessage")
        yield from (Right(f"sqs:{name}", queue) for name in names)


async def list_task_rights(setup: Setup) -> dict[str, list[Right]]:
    """List what each task role has to be allowed: to take its token, and to delete it.

    The role's policy may have a condition on the token's tag, which is the task's own id.
    """
    found: dict[str, list[Right]] = {}
    for target in await setup.list_targets():
        definition = await setup.find_definition(target)
        if definition is None or definition.task_role is None:
            continue
        _, partition, _, _, account, *_ = definition.task_role.split(":")
        prefix = setup.settings.parameter_prefix.strip("/")
        name = f"parameter/{prefix}/0123456789abcdef0123456789abcdef"
        token = f"arn:{partition}:ssm:{setup.account.region or ''}:{account}:{name}"
        rights = [Right(f"ssm:{each}", token) for each in ("GetParameter", "DeleteParameter")]
        found[definition.task_role] = rights
    return found
