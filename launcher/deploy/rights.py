"""Find out what a function must be allowed: what the pools' tasks and machines are started from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.deploy.aws import is_missing
from launcher.deploy.machine_rights import MachineRights, find_machine_rights
from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.deploy.aws import Account
    from launcher.pools.pool import Pool


@dataclass(frozen=True, slots=True)
class TaskRights:
    """ARNs of what is used for tasks; all are empty where no pool starts any."""

    clusters: tuple[str, ...] = ()
    task_definitions: tuple[str, ...] = ()
    """With `*` for the revision, unless the pools name one."""
    roles: tuple[str, ...] = ()
    """The task roles and execution roles that tasks get."""


@dataclass(frozen=True, slots=True)
class Rights:
    """All that is used."""

    tasks: TaskRights
    machines: MachineRights

    def parameters(self) -> dict[str, str]:
        """Return them as parameters of a template."""
        return {
            "Tasks": yes_or_no(self.tasks.task_definitions),
            "ClusterArns": ",".join(self.tasks.clusters),
            "TaskDefinitionArns": ",".join(self.tasks.task_definitions),
            "RoleArns": ",".join(self.tasks.roles),
            "Machines": yes_or_no(self.machines.launch_templates),
            "LaunchTemplateArns": ",".join(self.machines.launch_templates),
            "MachineRoleArns": ",".join(self.machines.roles),
        }


def find_rights(
    account: Account, pools: Iterable[Pool], elsewhere: frozenset[str] = frozenset()
) -> Rights:
    """Look up what the pools name. Raises LaunchError where something does not exist.

    `elsewhere` names pools that callers of the API start in their own accounts: such a pool is left
    out where this account has nothing of it.
    """
    found = sorted(pools, key=lambda pool: pool.name in elsewhere)
    tasks = [pool for pool in found if pool.machine is None]
    machines = {pool.name: pool.machine for pool in found if pool.machine is not None}
    return Rights(
        _find_task_rights(account, tasks, elsewhere),
        find_machine_rights(account, machines, elsewhere),
    )


def _find_task_rights(account: Account, pools: list[Pool], elsewhere: frozenset[str]) -> TaskRights:
    known: dict[str, set[str] | None] = {}
    clusters: set[str] = set()
    definitions: set[str] = set()
    roles: set[str] = set()
    for pool in pools:
        if pool.task_definition not in known:
            known[pool.task_definition] = _find_roles(account, pool, elsewhere)
        found = known[pool.task_definition]
        if found is None:
            continue
        roles |= found
        clusters.add(_cluster_arn(account, pool.cluster))
        definitions.add(_definition_arn(account, pool.task_definition))
    if definitions and not roles:
        text = (
            "no task definition of the pools has a taskRoleArn: the agent needs one for its token"
        )
        raise LaunchError(Exit.SETTINGS, text)
    return TaskRights(tuple(sorted(clusters)), tuple(sorted(definitions)), tuple(sorted(roles)))


def _find_roles(account: Account, pool: Pool, elsewhere: frozenset[str]) -> set[str] | None:
    """Return the roles of a pool's task definition; None where it is in other accounts alone."""
    name = pool.task_definition
    action = f"cannot look at the task definition {name} of the pool {pool.name}"
    try:
        answer = account.call("ecs", "describe_task_definition", action, taskDefinition=name)
    except LaunchError as error:
        if pool.name in elsewhere and is_missing(error):
            return None
        raise
    found = answer["taskDefinition"]
    return {found[key] for key in ("taskRoleArn", "executionRoleArn") if found.get(key)}


def yes_or_no(arns: tuple[str, ...]) -> str:
    """Return the value of a parameter that says whether there are any."""
    return "yes" if arns else "no"


def _cluster_arn(account: Account, cluster: str) -> str:
    return cluster if cluster.startswith("arn:") else account.arn("ecs", f"cluster/{cluster}")


def _definition_arn(account: Account, definition: str) -> str:
    family, _, revision = definition.rpartition("/")[2].partition(":")
    if definition.startswith("arn:") and revision:
        return definition
    if definition.startswith("arn:"):
        return f"{definition}:*"
    return account.arn("ecs", f"task-definition/{family}:{revision or '*'}")
