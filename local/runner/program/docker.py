"""Run docker's commands for a job, and log them as the runner does."""

import re
import shutil
from typing import Callable, Optional

from .process import Invoker

_ID = re.compile(r"[0-9a-f]{12,64}")
_TRIES = 3
_PULL_RETRY_SECONDS = (1.0, 10.0)

Volume = tuple[str, str]
"""A folder here, and its path in a container."""


class DockerError(Exception):
    """A docker command failed, or may not be run any more."""


class Docker:
    """The docker client, in the job's workspace.

    No command gets a DOCKER_HOST of its own: that of the environment counts.
    """

    def __init__(
        self,
        invoker: Invoker,
        workspace: str,
        environment: dict[str, str],
        wait: Callable[[float, float], None],
    ) -> None:
        self._invoker, self._workspace, self._environment = invoker, workspace, environment
        self._wait = wait
        self.path = shutil.which("docker") or ""

    def run(
        self,
        log: Callable[[str], None],
        *argv: str,
        condition: str = "success()",
        text: str = "",
    ) -> list[str]:
        """Run a command; return the lines that it printed. Raises DockerError."""
        lines: list[str] = []
        if not self._invoker.allows(condition):
            self._invoker.step_canceled = True
            raise DockerError("The operation was canceled.")
        code = self.execute(log, argv, {}, condition, lines.append, text)
        if self._invoker.step_canceled:
            raise DockerError("The operation was canceled.")
        if code:
            raise DockerError(f"Exit code {code} returned from process: docker {argv[0]}.")
        return "".join(lines).splitlines()

    def execute(
        self,
        log: Callable[[str], None],
        argv: tuple[str, ...],
        env: dict[str, str],
        condition: str,
        collect: Optional[Callable[[str], None]] = None,
        text: str = "",
    ) -> int:
        """Run a command to its end; return its exit code. `collect` gets what it prints, too."""
        if not self.path:
            raise DockerError("File not found: 'docker'")

        def output(printed: str) -> None:
            if collect is not None:
                collect(printed)
            log(printed)

        log(f"##[command]{self.path} {_show(argv)}\n")
        environment = {**self._environment, **env}
        command = [self.path, *argv]
        return self._invoker.run(command, environment, self._workspace, output, condition, text)

    def repeat(self, log: Callable[[str], None], *argv: str, text: str = "") -> None:
        """Run a command, up to three times if it fails. Raises DockerError."""
        for attempt in range(1, _TRIES + 1):
            try:
                self.run(log, *argv, text=text)
            except DockerError as error:
                if attempt == _TRIES or not self._invoker.allows("success()"):
                    raise
                log(f"##[warning]{error} Retrying.\n")
                self._wait(*_PULL_RETRY_SECONDS)
            else:
                return


def find_id(lines: list[str]) -> str:
    """Return the id among the lines that a command printed. Raises DockerError."""
    for line in lines:
        if _ID.fullmatch(line):
            return line
    raise DockerError("docker printed no container's id")


def split(text: str) -> list[str]:
    """Split `options:` or `args:` into words as .NET does: only double quotes count."""
    words = re.findall(r'(?:[^\s"]|"(?:\\.|[^"\\])*"?)+', text)
    return [re.sub(r'(?<!\\)"', "", word).replace('\\"', '"') for word in words]


def mount(source: str, target: str, *, read_only: bool = False) -> tuple[str, str]:
    """Return the arguments that mount a folder."""
    return "-v", f"{source}:{target}{':ro' if read_only else ''}"


def translate(path: str, places: tuple[Volume, ...]) -> str:
    """Return where a path is in a container with these folders; the first that fits counts."""
    for here, there in places:
        if path == here or path.startswith(here + "/"):
            return there + path[len(here) :]
    return path


def _show(argv: tuple[str, ...]) -> str:
    return " ".join(f'"{word}"' if not word or re.search(r"[\s]", word) else word for word in argv)
