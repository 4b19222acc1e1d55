"""Keep what a job left in a home from the runner's programs that have a secret, or run next.

The runner believes files in the home of its user. Its client of the Actions service keeps the
addresses of services in a cache there (`VssFileStorage.cs`, `LocationServerMapCache.cs`), and
sends the next token to whatever address the cache has; .NET trusts the certificates in a store
there. So `configure` and `remove` get a new home for each call, which no job ever had. The listener
keeps its user's home, because its jobs get it too: there, cache and store are removed at the
beginning of each life.

Without a folder for configurations, the client tries ten times to write its cache: about a second
for each call.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

log = structlog.get_logger()

CONFIG, TEMPORARY = ".config", "tmp"
CACHE = ("GitHub", "ActionsService")
"""The client's files, in the folder for configurations."""
CERTIFICATES = (".dotnet", "corefx", "cryptography", "x509stores")
"""Certificates that .NET trusts, in the home."""
DATA = "LOCALAPPDATA"
"""The folder for configurations on Windows. The client reads it on every system, and first, as
`localappdata`."""
NAMES = ("HOME", "XDG_CONFIG_HOME", "TMPDIR", "TEMP", "TMP", DATA, DATA.lower())
"""Variables that say where a program finds its user's files."""


@contextmanager
def make_home(parent: Path, user: host.User | None) -> Iterator[dict[str, str]]:
    """Make a home for one call of the runner's program; yield the variables that lead to it.

    After the block it is removed. Raises OSError.
    """
    home = host.make_fresh_folder(parent, (CONFIG, TEMPORARY), user)
    config, temporary = str(home / CONFIG), str(home / TEMPORARY)
    try:
        yield {
            "HOME": str(home),
            "XDG_CONFIG_HOME": config,
            DATA: config,
            "TMPDIR": temporary,
            "TEMP": temporary,
            "TMP": temporary,
            # No socket for debuggers, which others of the user could use.
            "DOTNET_EnableDiagnostics": "0",
        }
    finally:
        try:
            host.remove_entry(home)
        except OSError as error:  # the call is over: what is left has no secret
            log.warning("runner.home_left", path=str(home), reason=error.strerror or str(error))


def use_home(env: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return `env` with the home of these variables, and no other."""
    return {name: value for name, value in env.items() if name.upper() not in NAMES} | {**variables}


def clean_home(
    env: Mapping[str, str],
    user: host.User | None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Remove what an earlier job may have left in the home for the next listener to believe.

    Then make the folder for configurations. Gives up when `stopped` returns True. Raises OSError
    where the agent is root; otherwise jobs have the agent's own user, and could keep it from this.
    """
    for folder in _config_folders(env):
        _remove(folder.parent, (folder.name, *CACHE), user, stopped)
        with suppress(OSError):  # the home is missing or read-only: the runner is only slower
            host.make_folder_below(folder.parent, folder.name, user)
    if home := env.get("HOME"):
        _remove(Path(home), CERTIFICATES, user, stopped)
    if data := env.get(DATA) or env.get(DATA.lower()):
        _remove(Path(data), CACHE, user, stopped)


def _config_folders(env: Mapping[str, str]) -> list[Path]:
    """Return where the client may look for its cache."""
    home, config = env.get("HOME"), env.get("XDG_CONFIG_HOME")
    folders = [Path(home) / CONFIG] if home else []
    if config and Path(config).is_absolute():
        folders.append(Path(config))
    return folders


def _remove(
    folder: Path, names: tuple[str, ...], user: host.User | None, stopped: Callable[[], bool]
) -> None:
    try:
        host.remove_below(folder, names, stopped)
    except OSError:
        if user is not None:
            raise
