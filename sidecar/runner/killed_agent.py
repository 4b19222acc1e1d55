"""Deregister the runner of an agent that was killed and started again on the same disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from sidecar.errors import RegistrationError
from sidecar.runner.configure import Registration
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.just_in_time import JustInTimeRegistration
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.tokens.value import RegistrationToken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar import github
    from sidecar.runner.state_file import SavedRunner
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep

log = structlog.get_logger()

PATIENCE = 60.0
"""Seconds that the new runner waits for the old one's deregistration before it is configured."""


class KilledAgent:
    """The runner that a killed agent registered; it is deregistered as soon as that is possible."""

    def __init__(
        self,
        folder: RunnerFolder,
        saved: SavedRunner,
        api: github.Connection | None,
        url: str | None,
    ) -> None:
        self.cleanup_step: CleanupStep
        self._folder = RunnerFolder(folder.path, folder.user)  # it has copies of its own
        self._folder.load_copies(saved.copies)
        self._saved = saved
        self._api = api
        self._registration_request = RegistrationRequest(
            url=url or "",
            token=None,
            name=saved.name,
            labels=(),
            no_default_labels=False,
            group=None,
            work_dir="_work",
            unique=saved.unique,
        )
        self._env: Mapping[str, str] = {}
        self._token_usable: Callable[[], bool] = lambda: False
        self._is_same_runner = self._is_replaced = False
        self._reason = (
            f"cannot deregister {saved.name}, the runner of a killed agent: there is neither a "
            "registration token nor a credential for GitHub's API; GitHub removes an offline "
            "ephemeral runner after one day"
        )
        log.warning("killed_agent.found", name=saved.name, runner_id=self._folder.runner_id)

    async def deregister_first(
        self,
        registration_request: RegistrationRequest,
        env: Mapping[str, str],
        registration_token: RegistrationToken,
        token_usable: Callable[[], bool],
    ) -> None:
        """Deregister the old runner before the new one is configured in the same folder.

        Whether that works or not, the life goes on. A failed step runs again at the end, but no
        longer with the runner's own program, which then knows only the new runner.
        """
        token_id = registration_token.runner_id
        self._is_same_runner = token_id is not None and token_id == self._folder.runner_id
        self._registration_request = replace(
            registration_request, name=self._saved.name, unique=self._saved.unique
        )
        self._env = env
        self._token_usable = token_usable
        try:
            await asyncio.wait([self.cleanup_step.begin()], timeout=PATIENCE)
            if not self.cleanup_step.done:
                await self.cleanup_step.cancel(f"not deregistered within {PATIENCE:g} s")
        finally:
            # Neither done nor failed: a stop came, and the step may go on.
            if self.cleanup_step.done or self.cleanup_step.error:
                self._token_usable = lambda: False
                self._is_replaced = True

    def token_usable(self) -> bool:
        """Whether the runner's own program may still remove it, with the registration token."""
        return self._token_usable()

    async def deregister(self) -> str:
        """Deregister the runner; return the method that worked. Raises RegistrationError."""
        if self._is_same_runner:
            return "the same runner again"
        if self._api is None and not self.token_usable():
            raise RegistrationError(self._reason)
        deregistration = Deregistration(self._api, self.token_usable)
        deregistration.runner = self._runner()
        try:
            method = await deregistration.deregister()
        except RegistrationError as error:
            self._reason = f"{error} (the runner of a killed agent)"
            raise RegistrationError(self._reason) from error
        if not self._is_replaced:
            self._folder.state_file.delete()
        return method

    def _runner(self) -> Registration | JustInTimeRegistration:
        request, runner_id = self._registration_request, self._folder.runner_id
        if self._saved.jit:
            token = RegistrationToken(runner_id=runner_id)
            just_in_time = JustInTimeRegistration(self._folder, request, token, None, 0)
            just_in_time.assume_registered()
            return just_in_time
        registration = Registration(self._folder, request, self._env)
        registration.assume_registered(complete=self._folder.has_copies)
        return registration


def find_killed_agent(
    folder: RunnerFolder,
    cleanup_stack: CleanupStack,
    api: github.Connection | None,
    url: str | None,
) -> KilledAgent | None:
    """Return the killed agent whose state file is in the folder, with a cleanup step; or None."""
    saved = folder.state_file.read()
    if saved is None:
        return None
    killed_agent = KilledAgent(folder, saved, api, url)
    killed_agent.cleanup_step = cleanup_stack.register_step("predecessor", killed_agent.deregister)
    return killed_agent
