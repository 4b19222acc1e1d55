"""The environment of the runner's processes: everything, but for what is the agent's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.host import Identity

RELAY_URI = "RUNNER_SIDECAR_RELAY_URI"
"""Where a job finds the relay: what AWS SDKs call AWS_CONTAINER_CREDENTIALS_FULL_URI."""


def environment(passed_on: Mapping[str, str], user: Identity | None) -> dict[str, str]:
    """Return what the runner and so every job sees.

    `passed_on` is the agent's own environment without what the agent consumed: proxies,
    certificates and the tool cache go through.
    """
    env = dict(passed_on)
    if user is not None:
        env |= {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    # Otherwise "this version is too old" is just exit code 1 (Runner.Listener, Program.cs).
    env["ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE"] = "1"
    return env
