"""Let a job pull private images of ECR with its own role, without a login step.

Docker's clients get a folder with a configuration of this life, DOCKER_CONFIG. It is the user's own
configuration with ECR's credential helper added, which asks ECR with the job's credentials.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.docker.client_configuration import FILE, PROGRAM, UnusableConfiguration, add_helpers
from sidecar.shutdown.cleanup import When
from sidecar.shutdown.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sidecar.aws.instance_facts import Facts
    from sidecar.settings.model import Configuration
    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

DOCKER_CONFIG = "DOCKER_CONFIG"
USUAL = ".docker"
"""The folder of a user's configuration, in the home; in it FILE, plugins, contexts."""
OWN, PROGRAMS = ".sidecar-docker", ".sidecar-programs"
"""In the runner's folder: the configuration where the usual place is not free, and the helper."""
KEPT = "sidecar-ecr"
"""In the folder of the configuration: logins that a job stores, the helper's cache and log."""
MARK = "sidecar-made"
"""In a folder at the usual place: an agent made it, and after a kill the next one removes it."""
MOST_ENTRIES = 1000


class _Impossible(Exception):
    """Nothing is set up; the text says why."""


async def add_registries(
    config: Configuration, facts: Facts, env: Mapping[str, str], cleanup_stack: CleanupStack
) -> dict[str, str]:
    """Set ECR's helper up for the job; return the variables with which docker's clients use it.

    `env` is the job's environment without them. Where it is not possible nothing is set up, and
    no variable returned: a job goes on without. What is made is removed at the end of the life.
    """
    listed = config.settings.ecr_registries
    if listed is None:
        return {}
    own = facts.ecr_registry
    registries = list(dict.fromkeys([*([own] if own else []), *listed]))
    try:
        setup = _Setup(config, env, _find_helper(env, registries))
        cleanup_stack.register_step(
            "docker configuration", partial(run_in_thread, setup.remove), when=When.LAST
        )
        added, variables = await asyncio.to_thread(setup.make, registries)
    except _Impossible as impossible:
        if listed:  # somebody counts on them
            log.warning("docker.registries_skipped", reason=str(impossible))
        else:
            log.info("docker.registries_skipped", reason=str(impossible))
        return {}
    log.info("docker.registries_added", registries=added, folder=variables[DOCKER_CONFIG])
    return variables


def _find_helper(env: Mapping[str, str], registries: Sequence[str]) -> str:
    if not registries:
        raise _Impossible("neither task nor machine tells its account and region")
    found = shutil.which(PROGRAM, path=env.get("PATH"))
    if found is None:
        raise _Impossible(f"{PROGRAM} is not installed (amazon-ecr-credential-helper)")
    return os.path.abspath(found)  # noqa: PTH100  a link stays one: a package may change its target


class _Setup:
    """The folders of one life; each of its methods blocks."""

    def __init__(self, config: Configuration, env: Mapping[str, str], helper: str) -> None:
        self._user, self._env, self._helper = config.user, env, helper
        self._runner_dir = config.settings.runner_dir
        home = env.get("HOME")
        self._usual = Path(home) / USUAL if home else None
        self._made: list[Path] = []

    def make(self, registries: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Make the configuration; return the registries that are added, and the variables.

        Raises _Impossible.
        """
        place = self._choose_place()
        script = host.build_registry_helper(self._helper, place / KEPT)
        if script is None:
            raise _Impossible("not on this system")
        given = self._given(place)
        try:
            document, added = add_helpers(self._read(given), registries)
            if not added:
                raise _Impossible(f"{given} has logins or helpers for all of them")
            self._write(place, given, json.dumps(document, indent=2))
            programs = self._write_program(script)
        except UnusableConfiguration as error:
            raise _Impossible(f"cannot add to {given}/{FILE}: {error}") from error
        except OSError as error:
            self.remove(lambda: False)
            what = error.strerror or str(error)
            raise _Impossible(f"cannot add to docker's configuration: {what}") from error
        path = self._env.get("PATH") or os.defpath
        return added, {DOCKER_CONFIG: str(place), "PATH": f"{programs}{os.pathsep}{path}"}

    def _choose_place(self) -> Path:
        """Return the usual folder if it is free, in the runner's folder; else one beside it.

        Steps that go to `~/.docker` without looking at DOCKER_CONFIG then find the same files.
        Elsewhere other agents of the same user may have the same home.
        """
        usual = self._usual
        if usual is None or self._env.get(DOCKER_CONFIG) or usual.parent != self._runner_dir:
            return self._runner_dir / OWN
        free = not os.path.lexists(usual) or os.path.lexists(usual / MARK)
        return usual if free else self._runner_dir / OWN

    def _given(self, place: Path) -> Path | None:
        """Return the folder of the user's own configuration, if there may be one."""
        if named := self._env.get(DOCKER_CONFIG):
            return Path(named)
        return None if self._usual == place else self._usual

    def _read(self, given: Path | None) -> bytes | None:
        if given is None:
            return None
        try:
            return host.read_for_user(given / FILE, self._user)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _write(self, place: Path, given: Path | None, text: str) -> None:
        self._make_folder(place)
        host.write_new(place / MARK, b"", 0o644, self._user)
        if given is not None:
            _link_entries(given, place)
        host.write_new(place / FILE, f"{text}\n".encode(), 0o600, self._user)
        host.make_folder(place, self._user)  # the user's from now on: `docker login` writes there

    def _write_program(self, script: str) -> Path:
        """Write the helper where a job cannot replace it, and return its folder."""
        programs = self._runner_dir / PROGRAMS
        self._make_folder(programs)
        host.write_new(programs / PROGRAM, script.encode(), 0o755, None)
        return programs

    def _make_folder(self, path: Path) -> None:
        host.make_private_folder(path)
        self._made.append(path)

    def remove(self, stopped: Callable[[], bool]) -> None:
        """Remove what was made. Raises OSError; TimeoutError once `stopped` returns True."""
        for path in self._made:
            host.remove_folder(path, stopped)


def _link_entries(given: Path, place: Path) -> None:
    """Link what else the user's folder has: plugins, contexts, files of builders."""
    try:
        entries = sorted(given.absolute().iterdir())[:MOST_ENTRIES]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in entries:
        if entry.name not in (FILE, KEPT, MARK):
            (place / entry.name).symlink_to(entry)
