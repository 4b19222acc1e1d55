"""Read the variables of the network that the runner's file `.env` sets: proxies, certificates.

GitHub's guide says to set them there, and the runner lets them win over its own environment. The
agent's calls go where the runner's go.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sidecar import host
from sidecar.errors import SettingsError
from sidecar.net import library_variables, proxy
from sidecar.runner import environment_file

if TYPE_CHECKING:
    from sidecar.runner.folder import RunnerFolder

FILE = ".env"


def read_network_variables(folder: RunnerFolder) -> dict[str, str]:
    """Return those variables of the runner's `.env`, if a job cannot have written it.

    The file is believed as it is for the runner itself: `RunnerFolder.prepare` removes any other.
    Raises SettingsError for a proxy that is none.
    """
    path = folder.path / FILE
    found = host.read_regular(path)
    if found is None:
        return {}
    first_life = not os.path.lexists(folder.state)
    if folder.user is not None and not first_life and not host.is_protected(path):
        return {}
    variables = library_variables.select(environment_file.read_variables(found[0]))
    if problems := proxy.check(variables):
        raise SettingsError(*(f"{path}: {problem}" for problem in problems))
    return variables
