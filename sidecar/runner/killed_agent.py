"""The runner of an agent that was killed and started again on the same disk, and its way out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from sidecar.errors import RegistrationError
from sidecar.runner.configure import Registration, RegistrationRequest
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.just_in_time import JustInTime
from sidecar.tokens.value import RegistrationToken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar import github
    from sidecar.runner.state_file import SavedRunner
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep

log = structlog.get_logger()

PATIENCE = 60.0
"""Seconds that it may take before the new runner is configured, job or no job."""


class KilledAgent:
    """A debt of another life: settled as soon as there is something to settle it with."""

    def __init__(
        self, root: RunnerFolder, left: SavedRunner, api: github.Connection | None, url: str | None
    ) -> None:
        self.cleanup_step: CleanupStep
        self._root = RunnerFolder(root.path, root.user)  # with copies of its own
        self._root.recall(left.copies)
        self._left = left
        self._api = api
        self._wish = RegistrationRequest(
            url=url or "",
            token=None,
            name=left.name,
            labels=(),
            no_default_labels=False,
            group=None,
            work_dir="_work",
            unique=left.unique,
        )
        self._env: Mapping[str, str] = {}
        self._usable: Callable[[], bool] = lambda: False
        self._same = self._replaced = False
        self._reason = (
            f"cannot deregister {left.name}, which a killed agent left: there is neither a "
            "registration token nor a credential for GitHub's API; GitHub removes an offline "
            "ephemeral runner after one day"
        )
        log.warning("killed_agent.found", name=left.name, runner_id=self._root.runner_id)

    async def departed(
        self,
        registration_request: RegistrationRequest,
        env: Mapping[str, str],
        right: RegistrationToken,
        usable: Callable[[], bool],
    ) -> None:
        """Take it away with what there is now, before anything new stands in the folder.

        Whether that worked or not, the life goes on: it is tried again at its end, but no longer
        by the runner's own program, which knows only the runner that its folder is for.
        """
        self._same = right.runner_id is not None and right.runner_id == self._root.runner_id
        self._wish, self._env = (
            replace(registration_request, name=self._left.name, unique=self._left.unique),
            env,
        )
        self._usable = usable
        try:
            await asyncio.wait([self.cleanup_step.begin()], timeout=PATIENCE)
            if not self.cleanup_step.done:
                await self.cleanup_step.cancel(f"it did not go within {PATIENCE:g} s")
        finally:
            if self.cleanup_step.done or self.cleanup_step.error:  # else a stop came: it may go on
                self._usable = lambda: False
                self._replaced = True

    def usable(self) -> bool:
        """Whether its own program may still take it away, with the registration token."""
        return self._usable()

    async def leave(self) -> str:
        """Take it away, or say why nobody here can. Raises RegistrationError."""
        if self._same:
            return "the same runner again"
        if self._api is None and not self.usable():
            raise RegistrationError(self._reason)
        deregistration = Deregistration(self._api, self.usable)
        deregistration.runner = self._runner()
        try:
            rung = await deregistration.leave()
        except RegistrationError as error:
            self._reason = f"{error} (a killed agent left it)"
            raise RegistrationError(self._reason) from error
        if not self._replaced:
            self._root.memory.erase()
        return rung

    def _runner(self) -> Registration | JustInTime:
        if self._left.jit:
            jit = JustInTime(
                self._root, self._wish, RegistrationToken(runner_id=self._root.runner_id), None, 0
            )
            jit.maybe_there()
            return jit
        registration = Registration(self._root, self._wish, self._env)
        registration.maybe_there(complete=self._root.copied)
        return registration


def found(
    root: RunnerFolder, cleanup_stack: CleanupStack, api: github.Connection | None, url: str | None
) -> KilledAgent | None:
    """Look whether an agent was killed here, and owe what it owed."""
    left = root.memory.read()
    if left is None:
        return None
    predecessor = KilledAgent(root, left, api, url)
    predecessor.cleanup_step = cleanup_stack.register_step("predecessor", predecessor.leave)
    return predecessor
