"""Prepare the runner's folder, and save and restore the runner's configuration files."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.runner import environment_file, homes, runner_settings, setup_info
from sidecar.runner.environment import variables_for_user
from sidecar.runner.program_protection import protect
from sidecar.runner.state_file import SavedFile, StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
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
LOGS = (("_diag",), ("_diag", "pages"), ("_diag", "blocks"))
"""Folders in which the program writes at every start: it crashes if another thing is there."""
PRIVATE = ".sidecar-private"
"""The folder for calls of the program with a token (`sidecar.runner.private_call`)."""
FREE_SPACE = 1 << 20
"""Bytes that the files of a registration, and the beginning of its logs, need."""


class RunnerFolder:
    """The folder that contains `bin/Runner.Listener`."""

    def __init__(self, path: Path, user: host.User | None) -> None:
        self.path = path
        self.user = user
        self.listener = str(path / host.LISTENER)
        self.private = path / PRIVATE
        self.state = path / ".sidecar"
        """The agent's own folder in it; jobs may read it, not write."""
        self.state_file = StateFile(path / ".sidecar-memory")
        """What the next agent on this disk reads, if this one is killed."""
        self.first_life = True
        """True where no job was on this disk yet, as far as the folder tells."""
        self._copies: dict[str, SavedFile | None] = {}

    def prepare(
        self,
        passed_on: Mapping[str, str] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare the folder for a life: remove what an earlier one left, give `bin/` to root.

        `passed_on` is the agent's own environment, of which the runner gets its own. Jobs may have
        left any number of files: the work ends when `stopped` returns True. Raises RunnerError when
        the folder cannot be written to.
        """
        self.first_life = not os.path.lexists(self.state)
        try:
            stale = []
            if self.user is not None:
                stale += protect(self.path, self.user, first_life=self.first_life)
            names = (*CONFIGURED, *MIGRATED, *ABSENT)
            stale += [name for name in names if host.remove_entry(self.path / name, stopped)]
            stale += self._remove_environment_of_jobs()
            stale += self.mend_logs()
            host.make_private_folder(self.state)
            self._check_free_space()
            self._copy(ENVIRONMENT)
            self._clean_homes(variables_for_user(self.user, passed_on or {}), stopped)
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
        life no job was here yet: the file is the image's, whoever owns it, and becomes root's. What
        cannot be read is never believed.
        """
        removed = []
        for name in ENVIRONMENT:
            path = self.path / name
            found = host.read_regular(path)
            if self.user is None:  # jobs have the agent's own user: nothing tells their files
                believed = found is not None or path.is_symlink()
            else:
                believed = found is not None and host.is_protected(path)
            if believed:
                continue
            if found is not None and self.first_life:
                self._write(name, SavedFile(found[0], found[1] & ~0o022))
            elif self._remove(name):
                removed.append(name)
        return removed

    def mend_logs(self) -> list[str]:
        """Remove what a job left where the runner's logs go; return the names.

        An image may have a link there: as root, the agent makes it its own in the first life.
        """
        if self.user is not None and self.first_life:
            host.keep_link(self.path / LOGS[0][0])
        return ["/".join(names) for names in LOGS if host.mend_folder(self.path, names, self.user)]

    def _clean_homes(self, env: Mapping[str, str], stopped: Callable[[], bool]) -> None:
        """Remove from the runner's home what an earlier job left for its next listener."""
        homes.clean_home(env, self.user, stopped)
        if own := self.read_environment_file():
            homes.clean_home({**env, **own}, self.user, stopped)

    def write_setup_info(self, facts: Facts) -> None:
        """Write where the job runs into `.setup_info`, which every job's first log group shows."""
        setup_info.write_facts(self.path / ".setup_info", facts)

    @property
    def is_configured(self) -> bool:
        """Whether there is a configuration for the listener."""
        return (self.path / ".runner").is_file()

    def is_configured_as(self, name: str) -> bool:
        """Whether the configuration in the folder is that of the runner `name`."""
        return runner_settings.is_for_runner(self._read(".runner"), name)

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
        return runner_settings.read_runner_id(self._settings)

    @property
    def work_folder(self) -> Path:
        """The folder of the runner's jobs, from the copy of `.runner`."""
        return self.path / runner_settings.read_work_folder(self._settings)

    @property
    def docker_label(self) -> str | None:
        """The label that the runner gives to containers and images, from the copy of `.runner`."""
        return runner_settings.make_docker_label(self._settings)

    @property
    def _settings(self) -> bytes | None:
        copy = self._copies.get(".runner")
        return copy.content if copy else None

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

    def restore_environment(self) -> None:
        """Put back `.env` and `.path`, if the job changed them: the next life would use them."""
        for name in ENVIRONMENT:
            copy, path = self._copies.get(name), self.path / name
            found = host.read_regular(path)
            if copy is not None and found == (copy.content, copy.mode) and host.is_own(path):
                continue
            try:
                self._restore(name)
            except OSError as error:
                reason = error.strerror or str(error)
                log.warning("runner.restore_failed", file=name, reason=reason)

    def _restore(self, name: str) -> None:
        copy = self._copies.get(name)
        self.replace_file(name, (copy.content, copy.mode) if copy else None)

    def read_for_call(self, name: str) -> tuple[bytes, int] | None:
        """Return content and mode that a call of the program may believe: the copy's if possible.

        Without copies there was no job since the file was written.
        """
        if self.has_copies if name not in ENVIRONMENT else name in self._copies:
            copy = self._copies.get(name)
            return (copy.content, copy.mode) if copy else None
        return host.read_regular(self.path / name)

    def replace_file(self, name: str, found: tuple[bytes, int] | None) -> None:
        """Write content and mode of a file, as its owner would; None removes it. Raises OSError."""
        if found is None:
            self._remove(name)
        else:
            self._write(name, SavedFile(*found))

    def read_environment_file(self) -> dict[str, str]:
        """Read `.env`, whose variables win over the listener's own environment."""
        return environment_file.read_variables(self._read(".env"))

    @contextmanager
    def without_variables(self, variables: Iterable[str]) -> Iterator[None]:
        """Remove variables from `.env` within the block, where the agent sets its own values."""
        found = host.read_regular(self.path / ".env")
        kept = environment_file.remove_variables(found[0], variables) if found else None
        if found is None or kept is None:
            yield
            return
        self._write(".env", SavedFile(kept, found[1]))
        try:
            yield
        finally:
            with suppress(OSError):  # the disk may be full by now: the file is not needed any more
                self._write(".env", SavedFile(*found))

    def _read(self, name: str) -> bytes | None:
        found = host.read_regular(self.path / name)
        return found[0] if found else None

    def _write(self, name: str, copy: SavedFile) -> None:
        # The environment's files stay the agent's own: a job may not write the next life's.
        user = None if name in ENVIRONMENT else self.user
        host.write_new(self.path / name, copy.content, copy.mode, user)

    def _remove(self, name: str) -> bool:
        return host.remove_entry(self.path / name)
