"""Prepare the runner's folder, and save and restore the runner's configuration files."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog

from sidecar import __version__, host
from sidecar.errors import RunnerError
from sidecar.runner import homes
from sidecar.runner.environment import variables_for_user
from sidecar.runner.state_file import SavedFile, StateFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sidecar.aws.instance_facts import Facts

log = structlog.get_logger()

KEY = ".credentials_rsaparams"
CONFIGURED = (".runner", ".credentials", KEY)
MIGRATED = (".runner_migrated", ".credentials_migrated")
ABSENT = (".service",)
"""Files of an installation as a service, which no agent has: `remove` refuses beside them."""
ENVIRONMENT = (".env", ".path")
"""Files that the program reads at every start, before anything else: their variables win."""
FREE_SPACE = 1 << 20
"""Bytes that the files of a registration, and the beginning of its logs, need."""


class RunnerFolder:
    """The folder that contains `bin/Runner.Listener`."""

    def __init__(self, path: Path, user: host.User | None) -> None:
        self.path = path
        self.user = user
        self.listener = str(path / host.LISTENER)
        self.state = path / ".sidecar"
        """The agent's own folder in it; jobs may read it, not write."""
        self.state_file = StateFile(path / ".sidecar-memory")
        """What the next agent on this disk reads, if this one is killed."""
        self._copies: dict[str, SavedFile | None] = {}

    def prepare(self, passed_on: Mapping[str, str] | None = None) -> None:
        """Prepare the folder for a life: remove what an earlier one left, give `bin/` to root.

        `passed_on` is the agent's own environment, of which the runner gets its own. Raises
        RunnerError when the folder cannot be written to.
        """
        try:
            if self.user is not None:
                host.protect_program(self.path, self.user)
            stale = [name for name in (*CONFIGURED, *MIGRATED, *ABSENT) if self._remove(name)]
            stale += self._remove_environment_of_jobs()
            host.make_private_folder(self.state)
            self._check_free_space()
            self._copy(ENVIRONMENT)
            self._clean_homes(variables_for_user(self.user, passed_on or {}))
        except OSError as error:
            message = (
                f"cannot prepare the runner's folder {self.path}: {error.strerror or error} "
                "(SIDECAR_RUNNER_DIR must be writable, and have room)"
            )
            raise RunnerError(message) from error
        if stale:
            log.warning("runner.configuration_removed", stale=stale)

    def set_aside(self) -> list[str]:
        """Remove the configuration of a runner that cannot be removed; return the names of files.

        Configure would refuse the folder. The copies stay: a deregistration needs the runner's
        number and key. Raises OSError.
        """
        return [name for name in (*CONFIGURED, *MIGRATED) if self._remove(name)]

    def forget_runner(self) -> None:
        """Delete what is left on the disk of a runner that GitHub has removed.

        That is the state file, and the configuration with the runner's key. What cannot be deleted
        is removed by the next life on this disk, before its configure.
        """
        self.state_file.delete_own()
        with suppress(OSError):
            self.set_aside()

    def _check_free_space(self) -> None:
        """Write as many bytes as a registration needs, and delete them; raises OSError if full.

        On a full disk configure would register the runner first and then fail to write its key:
        the agent could not remove that runner.
        """
        path = self.state / "room"
        try:
            host.write_new(path, bytes(FREE_SPACE), 0o600, None)
        finally:
            path.unlink(missing_ok=True)

    def _remove_environment_of_jobs(self) -> list[str]:
        """Remove `.env` and `.path` if an earlier job may have written them; return their names.

        Where the agent is root, such a file is believed if only root can write it. In the first
        life no job was here yet: the file is the image's, whoever owns it, and becomes root's.
        """
        if self.user is None:  # jobs have the agent's own user: nothing tells their files
            return []
        first_life = not (self.state.exists() or self.state.is_symlink())
        removed = []
        for name in ENVIRONMENT:
            path = self.path / name
            if host.is_protected(path):
                continue
            found = host.read_regular(path) if first_life else None
            if found is not None:
                self._write(name, SavedFile(found[0], found[1] & ~0o022))
            elif self._remove(name):
                removed.append(name)
        return removed

    def _clean_homes(self, env: Mapping[str, str]) -> None:
        """Remove from the runner's home what an earlier job left for its next listener."""
        homes.clean_home(env, self.user)
        if own := self.read_environment_file():
            homes.clean_home({**env, **own}, self.user)

    @contextmanager
    def own_environment(self, env: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Give one call of the program an environment with a home that no job ever had.

        Raises OSError.
        """
        if not host.is_own_folder(self.state):
            host.make_private_folder(self.state)
        with (
            homes.make_home(self.state, self.user) as variables,
            self.without_variables(homes.NAMES),
        ):
            yield homes.use_home(env, variables)

    def write_setup_info(self, facts: Facts) -> None:
        """Write where the job runs into `.setup_info`, which every job's first log group shows."""
        lines = [f"{key}: {fact}" for key, fact in facts.lines.items() if fact]
        lines.append(f"Agent: runner-sidecar {__version__}")
        groups = [group for group in self._read_setup_info() if group.get("group") != facts.title]
        groups.append({"group": facts.title, "detail": "\n".join(lines)})
        try:
            host.write_new(self.path / ".setup_info", json.dumps(groups).encode(), 0o644, None)
        except OSError as error:  # it only informs: the job can run without it
            log.warning("runner.setup_info_failed", reason=error.strerror or str(error))

    def _read_setup_info(self) -> list[dict[str, str]]:
        found = host.read_regular(self.path / ".setup_info")
        try:
            groups = json.loads(found[0].decode("utf-8-sig")) if found else []
        except ValueError:
            return []
        listed = groups if isinstance(groups, list) else []
        return [group for group in listed if isinstance(group, dict)]

    @property
    def is_configured(self) -> bool:
        """Whether there is a configuration for the listener."""
        return (self.path / ".runner").is_file()

    def is_configured_as(self, name: str) -> bool:
        """Whether the configuration in the folder is that of the runner `name`."""
        settings = _read_settings(host.read_regular(self.path / ".runner"))
        found = settings.get("agentname")
        return isinstance(found, str) and found.casefold() == name.casefold()

    @property
    def has_copies(self) -> bool:
        """Whether there is a copy of a configuration."""
        return self._copies.get(".runner") is not None

    @property
    def copies(self) -> Mapping[str, SavedFile | None]:
        """The copies, None for files that were missing."""
        return self._copies

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for the runner, from the copy of `.runner`."""
        copy = self._copies.get(".runner")
        settings = _read_settings((copy.content, copy.mode) if copy else None)
        try:
            return int(settings["agentid"])
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def work_folder(self) -> Path:
        """The folder of the runner's jobs, from the copy of `.runner`."""
        copy = self._copies.get(".runner")
        settings = _read_settings((copy.content, copy.mode) if copy else None)
        return self.path / str(settings.get("workfolder") or "_work")

    @property
    def docker_label(self) -> str | None:
        """The label that the runner gives to containers and images, from the copy of `.runner`."""
        copy = self._copies.get(".runner")
        text = copy and copy.content.removeprefix(b"\xef\xbb\xbf")
        return hashlib.sha256(text).hexdigest()[:6] if text else None

    def write_configuration(self, files: Mapping[str, bytes]) -> None:
        """Write the configuration files of a just-in-time runner, as its listener would.

        Raises RunnerError.
        """
        try:
            for name, plain in files.items():
                content = host.seal_runner_key(plain) if name == KEY else plain
                self._write(name, SavedFile(content, 0o600 if name != ".runner" else 0o644))
        except OSError as error:
            raise RunnerError(
                f"cannot write the runner's files into {self.path}: {error.strerror or error} "
                "(SIDECAR_RUNNER_DIR must be writable)"
            ) from error

    def save_copies(self) -> None:
        """Copy the configuration files, before any job can change them."""
        self._copy((*CONFIGURED, *MIGRATED))
        self.state_file.save_files(self._copies)

    def load_copies(self, copies: Mapping[str, SavedFile | None]) -> None:
        """Use the copies that a killed agent saved, and restore its environment files.

        Without copies that agent was killed before any job: the files in the folder are right.
        """
        self._copies = dict(copies)
        if not copies:
            self._copy((*CONFIGURED, *MIGRATED))
        for name in set(ENVIRONMENT) & set(copies):
            self._restore(name)

    def _copy(self, names: Iterable[str]) -> None:
        for name in names:
            found = host.read_regular(self.path / name)
            self._copies[name] = SavedFile(*found) if found else None

    def restore_copies(self) -> None:
        """Restore the configuration files as configure wrote them: `remove` obeys them."""
        for name in (*self._copies, *ABSENT):
            self._restore(name)

    def _restore(self, name: str) -> None:
        copy = self._copies.get(name)
        if copy is None:
            self._remove(name)
        else:
            self._write(name, copy)

    def read_environment_file(self) -> dict[str, str]:
        """Read `.env`, whose variables win over the listener's own environment."""
        found = host.read_regular(self.path / ".env")
        lines = found[0].decode("utf-8-sig", "replace").splitlines() if found else []
        return {key: value for key, _, value in (line.partition("=") for line in lines) if value}

    @contextmanager
    def without_variables(self, variables: Iterable[str]) -> Iterator[None]:
        """Remove variables from `.env` within the block, where the agent sets its own values."""
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
            with suppress(OSError):  # the disk may be full by now: the file is not needed any more
                self._write(".env", SavedFile(*found))

    def _write(self, name: str, copy: SavedFile) -> None:
        # The environment's files stay the agent's own: a job may not write the next life's.
        user = None if name in ENVIRONMENT else self.user
        host.write_new(self.path / name, copy.content, copy.mode, user)

    def _remove(self, name: str) -> bool:
        return host.remove_entry(self.path / name)


def _read_settings(found: tuple[bytes, int] | None) -> dict[str, Any]:
    """Return the content of a `.runner` file, with all keys in lower case; empty if it is invalid.

    Keys are camelCase from configure and PascalCase from a just-in-time configuration.
    """
    try:
        settings = json.loads(found[0].decode("utf-8-sig")) if found else {}
        return {key.lower(): value for key, value in settings.items()}
    except (ValueError, AttributeError):
        return {}
