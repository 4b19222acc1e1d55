"""Let the agent's calls go where the runner's go: by its proxies, with its certificates."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sidecar.net import proxy
from sidecar.net.library_variables import set_for_libraries
from sidecar.runner.network_variables import read_network_variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.runner.folder import RunnerFolder
    from sidecar.settings.model import Configuration


@contextmanager
def network_variables(config: Configuration, folder: RunnerFolder) -> Iterator[Configuration]:
    """Return the configuration with the network's variables of the runner's `.env` in it.

    They win over the environment, as for the runner itself. Libraries read them within the block.
    Raises SettingsError.
    """
    passed_on = {**config.passed_on, **read_network_variables(folder)}
    passed_on |= proxy.clean(passed_on)
    with set_for_libraries(passed_on):
        yield replace(config, passed_on=passed_on)
