"""Read who a runner is at GitHub: its number, how it was registered, and its key.

All of it comes from the copies that the agent took before any job: a job can write the files.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sidecar import host
from sidecar.github import GitHubError
from sidecar.github.runner_key import RunnerKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.runner.state_file import SavedFile


class SavedIdentity:
    """One runner's identity, from the saved copies of its files (None: there was no such file)."""

    def __init__(self, copies: Mapping[str, SavedFile | None]) -> None:
        self._copies = copies

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for the runner."""
        try:
            return int(self._read_settings()["agentid"])
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def admin_flow(self) -> bool:
        """Whether it was registered by REST alone; configure writes no such key otherwise.

        `useV2Flow` is something else: runners of the tenant flow have it too.
        """
        return str(self._read_settings().get("userunneradminflow")).lower() == "true"

    def read_key(self) -> RunnerKey:
        """Read the runner's own key. Raises GitHubError."""
        credentials = self._copies.get(".credentials")
        parameters = self._copies.get(".credentials_rsaparams")
        if credentials is None or parameters is None:
            raise GitHubError("cannot ask as the runner: there is no copy of its key")
        try:
            plain = host.unseal_runner_key(parameters.content)
        except OSError as error:
            reason = host.explain_error(error)
            raise GitHubError(f"cannot read the runner's key: {reason}") from error
        return RunnerKey.read(credentials.content, plain)

    def _read_settings(self) -> dict[str, Any]:
        """Read `.runner`: camelCase from configure, PascalCase just in time."""
        copy = self._copies.get(".runner")
        try:
            settings = json.loads(copy.content.decode("utf-8-sig")) if copy else {}
            return {key.lower(): value for key, value in settings.items()}
        except (ValueError, RecursionError, AttributeError):
            return {}
