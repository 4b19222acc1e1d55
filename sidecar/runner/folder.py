"""The runner's folder: whose it is, which files say that it is configured, and copies of them."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from sidecar import __version__, host
from sidecar.errors import RunnerError
from sidecar.runner.state_file import SavedFile, StateFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sidecar.aws.task_metadata import TaskFacts

log = structlog.get_logger()

CONFIGURED = (".runner", ".credentials", ".credentials_rsaparams")
MIGRATED = (".runner_migrated", ".credentials_migrated")
ENVIRONMENT = (".env", ".path")
"""Files the listener reads at every start, before it does what it was started for."""
GROUP = "ECS task"
ROOM = 1 << 20
"""Bytes that there must be for the files of a registration, and the first lines of its logs."""


class RunnerFolder:
    """The folder that holds `bin/Runner.Listener`."""

    def __init__(self, path: Path, user: host.Identity | None) -> None:
        self.path = path
        self.user = user
        self.listener = str(path / host.LISTENER)
        self.state = path / ".sidecar"
        """The agent's own folder; jobs may read it, not write."""
        self.memory = StateFile(path / ".sidecar-memory")
        """What the next agent on this disk is told, should this one be killed."""
        self._copies: dict[str, SavedFile | None] = {}

    def prepare(self) -> None:
        """Make the folder fit for a life: a predecessor's configuration goes, `bin/` is root's.

        Raises RunnerError when it cannot be written to.
        """
        try:
            if self.user is not None:
                host.guard(self.path, self.user)
            stale = [name for name in (*CONFIGURED, *MIGRATED) if self._remove(name)]
            host.private_folder(self.state)
            self._find_room()
            self._keep(ENVIRONMENT)
        except OSError as error:
            message = (
                f"cannot prepare the runner's folder {self.path}: {error.strerror or error} "
                "(SIDECAR_RUNNER_DIR must be writable, and have room)"
            )
            raise RunnerError(message) from error
        if stale:
            log.warning("runner.configuration_removed", stale=stale)

    def _find_room(self) -> None:
        """Write as much as a registration may, and take it away; raises OSError on a full disk.

        There configure registers the runner first and then finds that it cannot write down which
        one it is: nobody could remove that one.
        """
        path = self.state / "room"
        try:
            host.write_new(path, bytes(ROOM), 0o600, None)
        finally:
            path.unlink(missing_ok=True)

    def describe(self, task: TaskFacts) -> None:
        """Put where the job runs into `.setup_info`, which every job's first log group shows."""
        facts = {"Task": task.arn, "Zone": task.zone, "Launch type": task.launch_type}
        lines = [f"{key}: {fact}" for key, fact in facts.items() if fact]
        lines.append(f"Agent: runner-sidecar {__version__}")
        groups = [group for group in self._setup_info() if group.get("group") != GROUP]
        groups.append({"group": GROUP, "detail": "\n".join(lines)})
        try:
            host.write_new(self.path / ".setup_info", json.dumps(groups).encode(), 0o644, None)
        except OSError as error:  # it only informs: no reason to lose a job
            log.warning("runner.setup_info_failed", reason=error.strerror or str(error))

    def _setup_info(self) -> list[dict[str, str]]:
        found = host.read_regular(self.path / ".setup_info")
        try:
            groups = json.loads(found[0].decode("utf-8-sig")) if found else []
        except ValueError:
            return []
        listed = groups if isinstance(groups, list) else []
        return [group for group in listed if isinstance(group, dict)]

    @property
    def configured(self) -> bool:
        """Whether the listener would find a configuration."""
        return (self.path / ".runner").is_file()

    @property
    def copied(self) -> bool:
        """Whether there is a copy of a configuration."""
        return self._copies.get(".runner") is not None

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for the runner, from the copy of `.runner`.

        Keys are camelCase from configure and PascalCase from a just-in-time configuration.
        """
        copy = self._copies.get(".runner")
        try:
            settings = json.loads(copy.content.decode("utf-8-sig")) if copy else {}
            return int({key.lower(): value for key, value in settings.items()}["agentid"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def unpack(self, files: Mapping[str, bytes]) -> None:
        """Write the configuration files of a just-in-time runner, as its listener would.

        Raises RunnerError.
        """
        try:
            for name, content in files.items():
                self._write(name, SavedFile(content, 0o600 if name != ".runner" else 0o644))
        except OSError as error:
            raise RunnerError(
                f"cannot write the runner's files into {self.path}: {error.strerror or error} "
                "(SIDECAR_RUNNER_DIR must be writable)"
            ) from error

    def keep_copies(self) -> None:
        """Remember what configure wrote, before any job can touch it."""
        self._keep((*CONFIGURED, *MIGRATED))
        self.memory.keep(self._copies)

    def recall(self, copies: Mapping[str, SavedFile | None]) -> None:
        """Take a predecessor's copies for one's own; its environment files are put back.

        Where it left none, it was killed before any job: what stands in the folder is kept.
        """
        self._copies = dict(copies)
        if not copies:
            self._keep((*CONFIGURED, *MIGRATED))
        for name in set(ENVIRONMENT) & set(copies):
            self._put_back(name)

    def _keep(self, names: Iterable[str]) -> None:
        for name in names:
            found = host.read_regular(self.path / name)
            self._copies[name] = SavedFile(*found) if found else None

    def put_back_copies(self) -> None:
        """Make the files what they were after configure: `remove` obeys what they say."""
        for name in self._copies:
            self._put_back(name)

    def _put_back(self, name: str) -> None:
        copy = self._copies[name]
        if copy is None:
            self._remove(name)
        else:
            self._write(name, copy)

    def environment_file(self) -> dict[str, str]:
        """Read `.env`, whose variables win over the listener's own environment."""
        found = host.read_regular(self.path / ".env")
        lines = found[0].decode("utf-8-sig", "replace").splitlines() if found else []
        return {key: value for key, _, value in (line.partition("=") for line in lines) if value}

    @contextmanager
    def environment_without(self, variables: Iterable[str]) -> Iterator[None]:
        """Take variables out of `.env` within the block, where the agent gives its own."""
        unwanted = tuple(f"{variable}=" for variable in variables)
        found = host.read_regular(self.path / ".env")
        lines = found[0].decode("utf-8-sig", "replace").splitlines() if found else []
        kept = [line for line in lines if not line.startswith(unwanted)]
        if found is None or kept == lines:
            yield
            return
        self._write(".env", SavedFile("".join(f"{line}\n" for line in kept).encode(), found[1]))
        try:
            yield
        finally:
            with suppress(OSError):  # a disk that is full by now: nobody needs the file any more
                self._write(".env", SavedFile(*found))

    def _write(self, name: str, copy: SavedFile) -> None:
        host.write_new(self.path / name, copy.content, copy.mode, self.user)

    def _remove(self, name: str) -> bool:
        path = self.path / name
        if path.is_symlink() or path.is_file():
            path.unlink()
            return True
        return False
