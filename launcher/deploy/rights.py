"""Find out what the worker must be allowed: the pools' clusters, task definitions and roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from launcher.deploy.aws import Account
    from launcher.pools.pool import Pools


@dataclass(frozen=True, slots=True)
class Rights:
    """ARNs of what the worker uses."""

    clusters: tuple[str, ...]
    task_definitions: tuple[str, ...]
    """With `*` for the revision, unless the pools name one."""
    roles: tuple[str, ...]
    """The task roles and execution roles that tasks get."""

    def parameters(self) -> dict[str, str]:
        """Return them as parameters of launcher.yaml."""
        return {
            "ClusterArns": ",".join(self.clusters),
            "TaskDefinitionArns": ",".join(self.task_definitions),
            "RoleArns": ",".join(self.roles),
        }


def find_rights(account: Account, pools: Pools) -> Rights:
    """Look the pools' task definitions up. Raises LaunchError where one does not exist."""
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
    return Rights(tuple(sorted(clusters)), tuple(sorted(definitions)), tuple(sorted(roles)))


def _cluster_arn(account: Account, cluster: str) -> str:
    return cluster if cluster.startswith("arn:") else account.arn("ecs", f"cluster/{cluster}")


def _definition_arn(account: Account, definition: str) -> str:
    family, _, revision = definition.rpartition("/")[2].partition(":")
    if definition.startswith("arn:") and revision:
        return definition
    if definition.startswith("arn:"):
        return f"{definition}:*"
    return account.arn("ecs", f"task-definition/{family}:{revision or '*'}")
