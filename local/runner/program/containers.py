"""The job container and the service containers of a job, from their network to their end.

The commands, their order and their arguments are those that actions/runner 2.336.0 was seen to
use (ContainerOperationProvider, DockerCommandManager, ContainerStepHost).
"""

import hashlib
import os
import random
from typing import Any, Callable, Optional

from .docker import Docker, DockerError, Volume, find_id, mount, split, translate
from .identities import uuid
from .misbehaviour import Misbehaviour
from .process import Invoker

Log = Callable[[str], None]

SOCKET = "/var/run/docker.sock"
WATERMARK = ("-e", "GITHUB_ACTIONS=true", "-e", "CI=true")
_HEALTH = "{{if .Config.Healthcheck}}{{print .State.Health.Status}}{{end}}"
_VARIABLES = "{{range .Config.Env}}{{println .}}{{end}}"
_HEALTH_SECONDS = (2.0, 3.5, 8.0, 14.0, 32.0)
_OLDEST_API = (1, 35)


class Folders:
    """The folders of a runner and of its job."""

    def __init__(self, root: str, work: str, workspace: str, tools: str) -> None:
        self.root, self.work, self.workspace, self.tools = root, work, workspace, tools
        self.temp = os.path.join(work, "_temp")
        self.actions = os.path.join(work, "_actions")
        self.externals = os.path.join(root, "externals")
        self.home = os.path.join(self.temp, "_github_home")
        self.workflow = os.path.join(self.temp, "_github_workflow")
        self.commands = os.path.join(self.temp, "_runner_file_commands")

    def make(self) -> None:
        """Make the folders that only containers need."""
        for folder in (self.home, self.workflow, self.commands):
            os.makedirs(folder, exist_ok=True)

    @property
    def label(self) -> str:
        """The label of everything that this registration makes."""
        with open(os.path.join(self.root, ".runner"), encoding="utf-8-sig") as file:
            return hashlib.sha256(file.read().encode()).hexdigest()[:6]

    @property
    def in_job_container(self) -> tuple[Volume, ...]:
        """Return the runner's folders as volumes of the job container."""
        inside = ((self.work, "/__w"), (self.externals, "/__e"))
        return inside if self.tools.startswith(self.work) else (*inside, (self.tools, "/__t"))


class Container:
    """A container that a workflow asks for, with `container:` or as one of `services:`."""

    def __init__(self, wanted: Any, alias: str = "") -> None:
        given: dict[str, Any] = {"image": wanted} if isinstance(wanted, str) else dict(wanted)
        self.image = str(given.get("image") or "").removeprefix("docker://")
        self.alias = alias
        self.options = split(str(given.get("options") or ""))
        self.env = {str(name): str(value) for name, value in (given.get("env") or {}).items()}
        self.ports = [str(port) for port in given.get("ports") or []]
        self.volumes = [str(volume) for volume in given.get("volumes") or []]
        self.credentials = given.get("credentials") or {}
        self.name = f"{make_guid()}_{make_name(self.image)}"
        self.id = ""

    def create_arguments(self, label: str, network: str, folders: Folders) -> list[str]:
        """Return the arguments of its `docker create`."""
        argv = ["create", "--name", self.name, "--label", label]
        if not self.alias:
            argv += ["--workdir", translate(folders.workspace, folders.in_job_container)]
        argv += ["--network", network]
        if self.alias:
            argv += ["--network-alias", self.alias]
        for port in self.ports:
            argv += ["-p", port]
        argv += self.options
        for name, value in self.env.items():
            argv += ["-e", f"{name}={value}" if value else name]
        if self.alias:
            return [*argv, *WATERMARK, *self._own_volumes(), self.image]
        argv += ["-e", "HOME=/github/home", *WATERMARK, *self._mounts(folders)]
        return [*argv, "--entrypoint", "tail", self.image, "-f", "/dev/null"]

    def _own_volumes(self) -> list[str]:
        return [word for volume in self.volumes for word in ("-v", volume)]

    def _mounts(self, folders: Folders) -> list[str]:
        places = folders.in_job_container
        return [
            *mount(SOCKET, SOCKET),
            *self._own_volumes(),
            *mount(folders.work, "/__w"),
            *mount(folders.externals, "/__e", read_only=True),
            *mount(folders.temp, translate(folders.temp, places)),
            *mount(folders.actions, translate(folders.actions, places)),
            *mount(folders.tools, translate(folders.tools, places)),
            *mount(folders.home, "/github/home"),
            *mount(folders.workflow, "/github/workflow"),
        ]


class Containers:
    """All containers of a job, and their network."""

    def __init__(
        self,
        docker: Docker,
        folders: Folders,
        knobs: Misbehaviour,
        invoker: Invoker,
    ) -> None:
        self._docker, self._folders = docker, folders
        self._knobs, self._invoker = knobs, invoker
        self._all: list[Container] = []
        self._path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        """The PATH of the job container; docker is asked when it has started."""
        self.network = ""

    def plan(self, job: Optional[Container], services: list[Container]) -> bool:
        """Note the containers that the job asks for; return whether there are any."""
        self._all = [*([job] if job else []), *services]
        return bool(self._all)

    @property
    def job_container(self) -> str:
        """The id of the job container; empty if the job has none."""
        return next((each.id for each in self._all if not each.alias), "")

    # The start

    def start(self, log: Log) -> None:
        """Remove what earlier jobs have left, then start all containers. Raises DockerError."""
        _refuse_in_docker()
        self._folders.make()
        label = self._folders.label
        self._check_versions(log)
        self._remove_stale(log, label)
        network = f"github_network_{make_guid()}"
        self._docker.run(log, "network", "create", "--label", label, network)
        self.network = network
        for container in self._all:
            self._start(log, container, label)
        for container in self._all:
            if container.alias:
                self._wait_until_healthy(log, container)

    def _check_versions(self, log: Log) -> None:
        """Ask for both versions of the API. The single quotes reach docker, as the runner's do."""
        for side in ("Server", "Client"):
            (line, *_) = self._docker.run(
                log, "version", "--format", f"'{{{{.{side}.APIVersion}}}}'"
            ) or [""]
            version = tuple(int(part) for part in line.strip("'").split(".") if part.isdigit())
            if version < _OLDEST_API:
                raise DockerError(f"Docker {side.lower()} API version {line} is too old.")

    def _remove_stale(self, log: Log, label: str) -> None:
        listing = ("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}")
        for container in self._docker.run(log, *listing):
            self._docker.run(log, "rm", "--force", container)
        self._docker.run(log, "network", "prune", "--force", "--filter", f"label={label}")

    def _start(self, log: Log, container: Container, label: str) -> None:
        run = self._docker.run
        self._pull(log, container)
        arguments = container.create_arguments(label, self.network, self._folders)
        container.id = find_id(run(log, *arguments))
        run(log, "start", container.id)
        running = ("--filter", f"id={container.id}", "--filter", "status=running")
        shape = ("--no-trunc", "--format", "{{.ID}} {{.Status}}")
        if not any(
            line.startswith(container.id) for line in run(log, "ps", "--all", *running, *shape)
        ):
            run(log, "logs", "--details", container.id)
        if container.alias:
            run(log, "port", container.id)
        else:
            variables = run(log, "inspect", "--format", _VARIABLES, container.id)
            for line in variables:
                if line.startswith("PATH="):
                    self._path = line.removeprefix("PATH=")

    def _pull(self, log: Log, container: Container) -> None:
        config: tuple[str, ...] = ()
        user = str(container.credentials.get("username") or "")
        if user:
            config = ("--config", os.path.join(self._folders.temp, f".docker_{make_guid()}"))
            os.makedirs(config[1], exist_ok=True)
            password = str(container.credentials.get("password") or "")
            login = ("login", *_find_host(container.image), "-u", user, "--password-stdin")
            self._docker.repeat(log, *config, *login, text=f"{password}\n")
        self._docker.repeat(log, *config, "pull", container.image)

    def _wait_until_healthy(self, log: Log, container: Container) -> None:
        """Wait while a service's health check says "starting". Raises DockerError if it fails."""
        for seconds in (*_HEALTH_SECONDS, *[_HEALTH_SECONDS[-1]] * 100):
            health = self._docker.run(log, "inspect", f"--format={_HEALTH}", container.id)
            state = health[0] if health else ""
            if state != "starting":
                break
            log(f"{container.alias} service is starting, waiting {seconds:g} seconds.\n")
            self._invoker.pause(
                self._knobs.seconds("health_retry_seconds", seconds), until_canceled=True
            )
        if state in ("healthy", ""):
            log(f"{container.alias} service is healthy.\n")
            return
        self._docker.run(log, "logs", "--details", container.id)
        raise DockerError(f"Failed to initialize container {container.image}")

    # The end

    def stop(self, log: Log) -> None:
        """Remove the job container, each service with its log, and the network."""
        for container in self._all:
            if container.id and container.alias:
                self._try(log, "logs", "--details", container.id)
            if container.id:
                self._try(log, "rm", "--force", container.id)
        if self.network:
            self._try(log, "network", "rm", self.network)

    def _try(self, log: Log, *argv: str) -> None:
        """Run a command of the clean-up; one that fails does not keep the others from running."""
        try:
            self._docker.run(log, *argv, condition="always()")
        except DockerError as error:
            log(f"##[warning]{error}\n")

    # A step

    def exec_arguments(
        self, environment: dict[str, str], added_paths: list[str], command: list[str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the `docker exec` of a step, and the variables that it takes over by name."""
        places = self._folders.in_job_container
        inside = {name: translate(value, places) for name, value in environment.items()}
        names = [word for name in inside for word in ("-e", name)]
        if added_paths:
            paths = [translate(path, places) for path in added_paths]
            names += ["-e", f"PATH={':'.join([*paths, self._path])}"]
        folder = ("--workdir", translate(self._folders.workspace, places))
        words = [translate(word, places) for word in command]
        return ("exec", "-i", *folder, *names, self.job_container, *words), inside


def make_guid() -> str:
    """Return a new GUID without its hyphens."""
    return uuid().replace("-", "")


def make_name(image: str) -> str:
    """Return the end of a container's name: the image's letters and digits, then six hex."""
    plain = "".join(char for char in image if char.isascii() and char.isalnum())
    return f"{plain}_{random.randrange(16**6):06x}"


def _find_host(image: str) -> list[str]:
    """Return the registry's host; none for Docker's own."""
    first, slash, _ = image.partition("/")
    return [first] if slash and ("." in first or ":" in first or first == "localhost") else []


def _refuse_in_docker() -> None:
    """Refuse containers where the runner itself runs in one that docker has made."""
    try:
        with open("/proc/1/cgroup", encoding="utf-8") as file:
            inside = ":/docker/" in file.read()
    except OSError:
        inside = False
    if inside:
        text = "Container feature is not supported when runner is already running inside container."
        raise DockerError(text)
