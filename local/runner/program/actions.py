"""The actions of a job: docker actions in containers of their own, node actions by `node`.

The commands and their order are those that actions/runner 2.336.0 was seen to use
(ActionManager, ContainerActionHandler, NodeScriptActionHandler).
"""

import json
import os
from typing import Any, Callable, Optional

from .containers import SOCKET, WATERMARK, Containers, Folders, Log, make_guid, make_name
from .docker import Docker, DockerError, Volume, mount, split, translate

Wanted = dict[str, Any]
"""A step of the job's message."""


class Action:
    """An action: its `runs:`, and the image that it runs in."""

    def __init__(self, runs: dict[str, Any], inputs: dict[str, Any], folder: str = "") -> None:
        self.runs, self.folder = runs, folder
        self.image = ""
        self.inputs = {
            f"INPUT_{name.replace(' ', '_').upper()}": str(value) for name, value in inputs.items()
        }

    @property
    def in_docker(self) -> bool:
        """Whether it is a docker action."""
        return self.runs.get("using") == "docker"

    @property
    def dockerfile(self) -> str:
        """The path of its Dockerfile; empty if it runs in an image that exists."""
        image = str(self.runs.get("image") or "")
        return "" if image.startswith("docker://") else os.path.join(self.folder, image)

    def arguments(self) -> list[str]:
        """Return the words that follow the image."""
        given = self.inputs.get("INPUT_ARGS")
        return split(given) if given else [str(word) for word in self.runs.get("args") or []]

    def entrypoint(self, moment: str = "") -> str:
        """Return the program to run in place of the image's own; `moment` is "post-" or ""."""
        given = "" if moment else self.inputs.get("INPUT_ENTRYPOINT")
        return given or str(self.runs.get(f"{moment}entrypoint") or "")


class Actions:
    """The actions of one job; each is prepared once, before the containers start."""

    def __init__(self, docker: Docker, folders: Folders, containers: Containers) -> None:
        self._docker, self._folders, self._containers = docker, folders, containers
        self._images: dict[str, str] = {}
        """The images that were built before the job, by the action's folder."""

    def list_preparations(self, steps: list[Wanted]) -> list[tuple[str, Callable[[Log], None]]]:
        """Return what must be done before the containers start: names and calls."""
        found: dict[str, Callable[[Log], None]] = {}
        for step in steps:
            reference = step["reference"]
            if reference["type"] == "containerRegistry":
                image = str(reference["image"])
                found.setdefault(f"Pull {image}", self._puller(image))
            elif _is_downloaded(reference):
                action = self.find(step)
                if action.in_docker and action.dockerfile:
                    name = f"Build {reference['name']}@{reference['ref']}"
                    found.setdefault(name, self._builder(action))
                elif action.in_docker:
                    image = str(action.runs["image"]).removeprefix("docker://")
                    found.setdefault(f"Pull {image}", self._puller(image))
        return list(found.items())

    def _puller(self, image: str) -> Callable[[Log], None]:
        return lambda log: self._docker.repeat(log, "pull", image)

    def _builder(self, action: Action) -> Callable[[Log], None]:
        def build(log: Log) -> None:
            self._images[action.folder] = self._build(log, action, self._docker.repeat)

        return build

    def _build(self, log: Log, action: Action, run: Callable[..., Any]) -> str:
        image = f"{self._folders.label}:{make_guid()}"
        run(log, "build", "-t", image, "-f", action.dockerfile, action.folder)
        return image

    def find(self, step: Wanted) -> Action:
        """Return the action of a step. Raises DockerError if there is none."""
        reference = step["reference"]
        if reference["type"] == "containerRegistry":
            runs = {"using": "docker", "image": f"docker://{reference['image']}"}
            return Action(runs, step["inputs"])
        if _is_downloaded(reference):
            path = (str(reference["name"]), str(reference["ref"]), str(reference.get("path") or ""))
            folder = os.path.join(self._folders.actions, *path).rstrip("/")
        else:
            folder = os.path.normpath(os.path.join(self._folders.workspace, reference["path"]))
        return Action(_read_runs(folder), step["inputs"], folder)

    def run(
        self,
        log: Log,
        action: Action,
        environment: dict[str, str],
        condition: str,
        moment: str = "",
    ) -> int:
        """Run a docker action to its end; return its exit code. Raises DockerError."""
        self._folders.make()
        image = str(action.runs.get("image") or "").removeprefix("docker://")
        if action.dockerfile:
            image = self._images.get(action.folder) or self._build(log, action, self._docker.run)
        inside = self._translate({**environment, "HOME": self._folders.home, **action.inputs})
        argv = ["run", "--name", make_name(image), "--label", self._folders.label]
        argv += ["--workdir", "/github/workspace", "--rm"]
        argv += [word for name in inside for word in ("-e", name)]
        argv += WATERMARK
        if entrypoint := action.entrypoint(moment):
            argv += ["--entrypoint", entrypoint]
        if self._containers.network:
            argv += ["--network", self._containers.network]
        argv += mount(SOCKET, SOCKET)
        for here, there in reversed(self._places):
            argv += mount(here, there)
        command = (*argv, image, *action.arguments())
        return self._docker.execute(log, command, inside, condition)

    @property
    def _places(self) -> tuple[Volume, ...]:
        folders = self._folders
        return (
            (folders.workspace, "/github/workspace"),
            (folders.commands, "/github/file_commands"),
            (folders.workflow, "/github/workflow"),
            (folders.home, "/github/home"),
            (folders.temp, "/github/runner_temp"),
        )

    def _translate(self, environment: dict[str, str]) -> dict[str, str]:
        return {name: translate(value, self._places) for name, value in environment.items()}

    def node_command(self, log: Log, action: Action) -> list[str]:
        """Return the command of a node action, with the paths of the runner's own machine.

        In a job container docker is first asked which system that is. Raises DockerError.
        """
        using = str(action.runs.get("using"))
        if not using.startswith("node"):
            raise DockerError(
                f"'using: {using}' is not supported, use 'docker' or 'node20' instead."
            )
        if container := self._containers.job_container:
            asked = "cat /etc/*release | grep ^ID"
            self._docker.run(log, "exec", container, "sh", "-c", asked)
        node = os.path.join(self._folders.externals, using, "bin", "node")
        return [node, os.path.join(action.folder, str(action.runs.get("main")))]


def _is_downloaded(reference: dict[str, Any]) -> bool:
    return reference["type"] == "repository" and reference.get("repositoryType") != "self"


def _read_runs(folder: str) -> dict[str, Any]:
    """Read `runs:` of an action. Its action.yml must be JSON, which is YAML as well."""
    for name in ("action.yml", "action.yaml"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return _parse(path)
    if os.path.isfile(os.path.join(folder, "Dockerfile")):
        return {"using": "docker", "image": "Dockerfile"}
    raise DockerError(
        f"Can't find 'action.yml', 'action.yaml' or 'Dockerfile' under '{folder}'. Did you forget "
        "to run actions/checkout before running your local action?"
    )


def _parse(path: str) -> dict[str, Any]:
    runs: Optional[dict[str, Any]] = None
    try:
        with open(path, encoding="utf-8") as file:
            runs = json.load(file).get("runs")
    except ValueError as error:
        raise DockerError(f"cannot read {path}: this stand-in reads only JSON") from error
    if not isinstance(runs, dict):
        raise DockerError(f"{path} has no `runs`")
    return runs
