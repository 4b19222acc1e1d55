"""Find out what the worker must be allowed: what the pools' tasks and machines are started from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.deploy.machine_rights import MachineRights, find_machine_rights
from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from launcher.deploy.aws import Account
    from launcher.pools.pool import Pool, Pools


@dataclass(frozen=True, slots=True)
class TaskRights:
    """ARNs of what the worker uses for tasks; all are empty where no pool starts any."""

    clusters: tuple[str, ...] = ()
    task_definitions: tuple[str, ...] = ()
    """With `*` for the revision, unless the pools name one."""
    roles: tuple[str, ...] = ()
    """The task roles and execution roles that tasks get."""


@dataclass(frozen=True, slots=True)
class Rights:
    """All that the worker uses."""

    tasks: TaskRights
    machines: MachineRights

    def parameters(self) -> dict[str, str]:
        """Return them as parameters of launcher.yaml."""
        return {
            "Tasks": _yes_or_no(self.tasks.task_definitions),
            "ClusterArns": ",".join(self.tasks.clusters),
            "TaskDefinitionArns": ",".join(self.tasks.task_definitions),
            "RoleArns": ",".join(self.tasks.roles),
            "Machines": _yes_or_no(self.machines.launch_templates),
            "LaunchTemplateArns": ",".join(self.machines.launch_templates),
            "MachineRoleArns": ",".join(self.machines.roles),
        }


def find_rights(account: Account, pools: Pools) -> Rights:
    """Look up what the pools name. Raises LaunchError where something does not exist."""
    tasks = [pool for pool in pools if pool.machine is None]
    machines = {pool.name: pool.machine for pool in pools if pool.machine is not None}
    return Rights(_find_task_rights(account, tasks), find_machine_rights(account, machines))


def _find_task_rights(account: Account, pools: list[Pool]) -> TaskRights:
    if not pools:
        return TaskRights()
    clusters = {_cluster_arn(account, pool.cluster) for pool in pools}
    named = {pool.task_definition: pool.name for pool in pools}
    roles: set[str] = set()
    for definition, pool in named.items():
        action = f"cannot look at the task definition {definition} of the pool {pool}"
        found = account.call("ecs", "describe_task_definition", action, taskDefinition=definition)[
            "taskDefinition"
        ]
        roles |= {found[key] for key in ("taskRoleArn", "executionRoleArn") if found.get(key)}
    if not roles:
        text = (
            "no task definition of the pools has a taskRoleArn: the agent needs one for its token"
        )
        raise LaunchError(Exit.SETTINGS, text)
    definitions = {_definition_arn(account, definition) for definition in named}
    return TaskRights(tuple(sorted(clusters)), tuple(sorted(definitions)), tuple(sorted(roles)))


def _yes_or_no(arns: tuple[str, ...]) -> str:
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
