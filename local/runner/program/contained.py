"""Everything of a job that needs docker: its containers and its actions."""

import os
from typing import Any, Callable, NamedTuple

from .actions import Action, Actions
from .containers import Container, Containers, Folders, Log
from .docker import Docker
from .message import Job
from .misbehaviour import Misbehaviour
from .process import Invoker

_SET_BY_DOCKER = ("CI", "GITHUB_ACTIONS", "RUNNER_TRACKING_ID")
"""Variables that no container gets by name: the first two are its own from the start."""


class Preparation(NamedTuple):
    """A step of the runner's own."""

    name: str
    call: Callable[[Log], None]


class Contained:
    """The containers and actions of one job."""

    def __init__(
        self, invoker: Invoker, knobs: Misbehaviour, folders: Folders, added_paths: list[str]
    ) -> None:
        self._added_paths = added_paths

        def wait(low: float, high: float) -> None:
            seconds = knobs.seconds("pull_retry_seconds", (low + high) / 2)
            invoker.pause(seconds, until_canceled=True)

        self._docker = Docker(invoker, folders.workspace, dict(os.environ), wait)
        self.containers = Containers(self._docker, folders, knobs, invoker)
        self._actions = Actions(self._docker, folders, self.containers)

    def prepare(self, job: Job) -> list[Preparation]:
        """Return the steps that come before the job's own, in order. Raises DockerError."""
        services = [Container(wanted, name) for name, wanted in job.services.items() if wanted]
        found = [Preparation(*each) for each in self._actions.list_preparations(job.steps)]
        if self.containers.plan(Container(job.container) if job.container else None, services):
            found.append(Preparation("Initialize containers", self.containers.start))
        return found

    def find(self, step: dict[str, Any]) -> Action:
        """Return the action of a step. Raises DockerError."""
        return self._actions.find(step)

    def node_command(self, log: Log, action: Action) -> list[str]:
        """Return the command of a node action. Raises DockerError."""
        return self._actions.node_command(log, action)

    def run_action(
        self, log: Log, action: Action, variables: dict[str, str], condition: str, moment: str
    ) -> int:
        """Run a docker action; return its exit code. Raises DockerError."""
        return self._actions.run(log, action, _select(variables), condition, moment)

    def run_command(
        self, log: Log, command: list[str], variables: dict[str, str], condition: str
    ) -> int:
        """Run a command in the job container; return its exit code. Raises DockerError."""
        given = _select(variables)
        argv, inside = self.containers.exec_arguments(given, self._added_paths, command)
        return self._docker.execute(log, argv, inside, condition)


def _select(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in _SET_BY_DOCKER}
