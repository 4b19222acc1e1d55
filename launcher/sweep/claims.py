"""Tell what is ours: nothing else is ever ended.

A task, a machine and a parameter carry the name of the deployment in a tag. A runner carries no
tag: its name begins with the deployment's prefix and goes on with a task's id, and two deployments
may have the same prefix. So somebody must know that task as ours: the table, the task itself, its
token, or an earlier look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher import identity

if TYPE_CHECKING:
    from launcher.places.listing import Home

TOKEN_PARAMETER = "SIDECAR_TOKEN_PARAMETER"  # noqa: S105  the name of a variable


@dataclass(frozen=True, slots=True)
class Claims:
    """The marks of one deployment."""

    deployment: str
    name_prefix: str
    parameter_prefix: str

    def owns(self, home: Home) -> bool:
        """Say whether this deployment has started a task or machine.

        ECS drops the tags of a task that somebody has stopped: then its request tells.
        """
        if identity.DEPLOYMENT_TAG in home.tags:
            return home.tags[identity.DEPLOYMENT_TAG] == self.deployment
        if home.tags or identity.launch_of_order(home.started_by) is None:
            return False
        parameter = home.variables.get(TOKEN_PARAMETER, "")
        return parameter.startswith(f"{self.parameter_prefix}/")

    def find_task(self, runner: str) -> str | None:
        """Return the id of the task in a runner's name; None where it is no name of ours."""
        task = identity.task_of_runner(self.name_prefix, runner)
        return task if task is not None and identity.is_of_task(task) else None
