"""Ask GitHub's runner services about one runner, with what the agent has without a credential.

That is the registration token, while it is young, and the copy of the runner's own key. The
requests are the agent's own: no program runs, and nothing that a job may have written is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.github import GitHubError, PermissionDenied
from sidecar.github.actions_service import ActionsService

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.runner.saved_identity import SavedIdentity

TRIES = 2
"""A try takes up to ten seconds, and the stop budget is short."""


class RunnerService:
    """The runner services, as far as one runner needs them.

    `github_url` is where the runner is registered, "" if only its just-in-time configuration says
    so; `token` is its registration token, None for a just-in-time runner. `token_usable` says
    whether the token is still young enough, `read_identity` reads the saved copies.
    """

    def __init__(
        self,
        github_url: str,
        token: str | None,
        token_usable: Callable[[], bool],
        read_identity: Callable[[], SavedIdentity],
    ) -> None:
        self._url = github_url
        self._token = token
        self._token_usable = token_usable
        self._read_identity = read_identity

    @property
    def usable_token(self) -> str | None:
        """The registration token, if GitHub still accepts it."""
        return self._token if self._url and self._token_usable() else None

    @property
    def can_ask(self) -> bool:
        """Whether there is a token or a key to ask with."""
        if self.usable_token is not None:
            return True
        try:
            self._read_identity().read_key()
        except GitHubError:
            return False
        return True

    async def deregister(self, runner_id: int) -> None:
        """Remove the runner with the registration token; it may be gone already.

        Raises RunnerBusy, PermissionDenied if the token is refused, or another GitHubError.
        """
        token = self.usable_token
        if token is None:
            raise GitHubError("the registration token is too old")
        admin_flow = self._read_identity().admin_flow
        async with ActionsService(self._url) as service:
            await service.deregister(token, runner_id, admin_flow=admin_flow, tries=TRIES)

    async def is_registered(self, runner_id: int | None, name: str) -> bool:
        """Ask whether GitHub knows the runner: with the token, else as the runner itself.

        Raises GitHubError where neither gives an answer.
        """
        token, identity = self.usable_token, self._read_identity()
        if token is not None and runner_id is not None:
            try:
                async with ActionsService(self._url) as service:
                    return await service.has_runner(
                        token, runner_id, name, admin_flow=identity.admin_flow, tries=TRIES
                    )
            except PermissionDenied:
                pass  # it may have expired earlier than its age says
        key = identity.read_key()
        # Without a URL in the settings the just-in-time configuration itself names GitHub.
        async with ActionsService(self._url or key.authorization_url) as service:
            return await service.knows_key(key, tries=TRIES)
