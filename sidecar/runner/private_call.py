"""Prepare one call of the runner's `configure` or `remove`, which have the registration token.

A process of the job's user can be looked into by a job: at its environment, its memory. So where
the agent is root and jobs have another user, these calls are root's, in a folder that nobody else
can enter. It has the program by hard links, and the files that the program reads, as they were
before any job. Afterwards the runner's folder gets what the call has changed, with the owner and
the modes as if the runner's user had called it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.runner import homes
from sidecar.runner.folder import CONFIGURED, ENVIRONMENT, MIGRATED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sidecar.runner.folder import RunnerFolder

log = structlog.get_logger()

CHANGED = ("svc.sh", *MIGRATED, *reversed(CONFIGURED))
"""Files that a call may make, change or remove; `.runner` is the last that configure writes."""
KEPT = frozenset({"bin", "_diag"})
"""The entries that stay in the folder between two calls: the program, and what it logged."""
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FOLDERS = frozenset({"PATH", "LD_LIBRARY_PATH"})
"""Variables that name folders with programs and libraries; configure runs `chmod`."""
LOADING = ("LD_", "CORECLR_", "COR_", "COMPLUS_", "DOTNET_", "OPENSSL_", "GCONV_PATH", "BASH_ENV")
"""The beginnings of variables that make a program load what they name."""
HARMLESS = ("DOTNET_SYSTEM_", "DOTNET_GC")

Files = dict[str, tuple[bytes, int] | None]
"""The content and mode of each file; None for one that is missing."""


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """The place of the program, and the environment, folder and user to run it with."""

    program: str
    env: dict[str, str] = field(repr=False)
    folder: Path
    user: host.User | None


@contextmanager
def prepare_call(folder: RunnerFolder, env: Mapping[str, str], verb: str) -> Iterator[PreparedCall]:
    """Prepare one call of the program, `verb`, within the block. Raises RunnerError.

    Jobs that have the agent's own user can look into each of its processes, wherever they run:
    then the program is called in the runner's folder, with a home of its own.
    """
    make = _call_in_folder if folder.user is None else _call_in_private
    with ExitStack() as stack:
        with _explain_errors(f"cannot make a home for the runner's {verb} in {folder.path}"):
            call = stack.enter_context(make(folder, env))
        yield call


@contextmanager
def _explain_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunnerError(f"{what}: {error.strerror or error}") from error


@contextmanager
def _call_in_folder(folder: RunnerFolder, env: Mapping[str, str]) -> Iterator[PreparedCall]:
    """Call the program in the runner's folder, with a home that no job ever had."""
    if not host.is_own_folder(folder.state):
        host.make_private_folder(folder.state)
    folder.mend_logs()
    with (
        homes.make_home(folder.state, None) as variables,
        folder.without_variables(homes.NAMES),
    ):
        yield PreparedCall(folder.listener, homes.use_home(env, variables), folder.path, None)


@contextmanager
def _call_in_private(folder: RunnerFolder, env: Mapping[str, str]) -> Iterator[PreparedCall]:
    """Call the program as root in the private folder; then change the runner's folder too."""
    private = folder.private
    how = host.provide_private_program(folder.path, private)
    log.debug("runner.program_provided", how=how, folder=str(private))
    empty(private)
    given = {name: folder.read_for_call(name) for name in (*ENVIRONMENT, *CHANGED)}
    try:
        _write_files(private, given)
        with homes.make_home(private, None) as variables:
            own = homes.use_home({"PATH": SAFE_PATH, **select_for_root(env)}, variables)
            yield PreparedCall(str(private / host.LISTENER), own, private, None)
    finally:
        with _explain_errors(f"cannot write the runner's files into {folder.path}"):
            _bring_back(folder, given)
            empty(private)


def empty(private: Path) -> None:
    """Remove the files of a call: the runner's key, and the home. Raises OSError."""
    for path in [path for path in private.iterdir() if path.name not in KEPT]:
        host.remove_entry(path)


def _write_files(private: Path, given: Files) -> None:
    for name, found in given.items():
        if found is not None:
            content = _select_lines(found[0]) if name == ".env" else found[0]
            host.write_new(private / name, content, found[1], None)


def _bring_back(folder: RunnerFolder, given: Files) -> None:
    """Write what the call has made or changed into the runner's folder, remove what it removed."""
    for name in CHANGED:
        found = host.read_regular(folder.private / name)
        if found != given[name]:
            folder.replace_file(name, found)


def select_for_root(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a program of root's may have.

    None may make it load or run a file that somebody else than root could have written.
    """
    selected = {}
    for name, value in env.items():
        if name in FOLDERS:
            kept = [part for part in value.split(os.pathsep) if _is_of_root(part)]
            if kept:
                selected[name] = os.pathsep.join(kept)
        elif not name.upper().startswith(LOADING) or name.upper().startswith(HARMLESS):
            selected[name] = value
    return selected


def _is_of_root(folder: str) -> bool:
    return folder.startswith("/") and host.is_folder_of_root(Path(folder))


def _select_lines(content: bytes) -> bytes:
    """Return the lines of `.env` whose variables a program of root's may have."""
    lines = content.decode("utf-8-sig", "replace").splitlines()
    pairs = {key: value for key, _, value in (line.partition("=") for line in lines) if value}
    selected = homes.use_home(select_for_root(pairs), {})
    return "".join(f"{name}={value}\n" for name, value in selected.items()).encode()
