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
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from launcher.places.listing import Home
    from sidecar import github

TOKEN_PARAMETER = "SIDECAR_TOKEN_PARAMETER"  # noqa: S105  the name of a variable


@dataclass(frozen=True, slots=True)
class Claims:
    """The marks of one deployment."""

    deployment: str
    name_prefix: str
    parameter_prefix: str
    others_paths: tuple[str, ...] = ()
    """Paths of parameters that hold nothing but the tokens of other launchers."""
    others_names: tuple[str, ...] = ()
    """The beginnings of the names of other launchers' runners."""
    others_tags: tuple[tuple[str, str], ...] = ()
    """Tags of other launchers' tasks and machines; each is enough."""

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

    def owns_as_others(self, home: Home) -> bool:
        """Say whether the settings give a task or machine, which another launcher has started."""
        if self.owns(home):
            return False
        return any(home.tags.get(key) == value for key, value in self.others_tags)

    def list_others(
        self, runners: Mapping[str, Sequence[github.Runner]], owned: Collection[str]
    ) -> Iterator[tuple[str, github.Runner]]:
        """Give each runner of another launcher that the settings give, and its scope.

        `owned` are the ids of our own tasks and machines.
        """
        for url, listed in runners.items():
            for runner in listed:
                is_own = self.find_task(runner.name) in owned
                if not is_own and runner.name.startswith(self.others_names):
                    yield url, runner
