"""Deregister the runners of agents that were killed, when an agent starts on the same disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from sidecar.errors import RegistrationError
from sidecar.runner.configure import Registration
from sidecar.runner.deregistration import Deregistration
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.runner_service import RunnerService
from sidecar.runner.saved_identity import SavedIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar import github
    from sidecar.runner.deregistration import RegisteredRunner
    from sidecar.runner.registration_request import RegistrationRequest
    from sidecar.runner.state_file import SavedRunner
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep
    from sidecar.tokens.value import RegistrationToken

log = structlog.get_logger()

PATIENCE = 60.0
"""Seconds that the new runner waits for the old ones' deregistration before it is configured."""


@dataclass(frozen=True, slots=True)
class NewRegistration:
    """The means to register this life's own runner, and to remove those of killed agents."""

    request: RegistrationRequest
    env: Mapping[str, str]
    token_usable: Callable[[], bool]
    runner_id: int | None
    """Of a just-in-time runner that was given to this life."""


@dataclass(frozen=True, slots=True)
class SavedRegistration:
    """A killed agent's runner, as its record says."""

    name: str
    unique: bool
    runner_id: int | None
    exists: bool = True


class KilledAgent:
    """One runner that a killed agent registered."""

    def __init__(
        self, folder: RunnerFolder, saved: SavedRunner, api: github.Connection | None, *, last: bool
    ) -> None:
        self.saved = saved
        self._api = api
        self._identity = SavedIdentity(saved.copies)
        self._new: NewRegistration | None = None
        self._folder: RunnerFolder | None = None
        if last:  # only the files of the last one can be in the folder
            self._folder = RunnerFolder(folder.path, folder.user)  # it has copies of its own
            self._folder.load_copies(saved.copies)
            self._identity = SavedIdentity(self._folder.copies)
        log.warning("killed_agent.found", name=saved.name, runner_id=self._identity.runner_id)

    def use(self, new: NewRegistration) -> None:
        """Deregister with this life's registration token too."""
        self._new = new

    def leave_folder(self) -> None:
        """Take its configuration out of the folder: `configure` refuses a folder that has one.

        From here on only the API and the runner services can remove it, with the saved copies.
        """
        if self._folder is None:
            return
        try:
            files = self._folder.set_aside()
        except OSError as error:
            files = []
            log.warning("killed_agent.set_aside_failed", reason=error.strerror or str(error))
        if files:
            runner_id = self._identity.runner_id
            log.warning("killed_agent.set_aside", name=self.saved.name, runner_id=runner_id)
        self._folder = None

    async def deregister(self) -> str:
        """Deregister the runner; return the method that worked. Raises RegistrationError."""
        new, runner_id = self._new, self._identity.runner_id
        if new is not None and new.runner_id is not None and new.runner_id == runner_id:
            return "the same runner again"
        try:
            return await self._make_deregistration().deregister()
        except RegistrationError as error:
            raise RegistrationError(f"{error} (the runner of a killed agent)") from error

    def _make_deregistration(self) -> Deregistration:
        new = self._new
        if new is None:  # a stop came before this life had a token
            made = Deregistration(self._api, lambda: False, use_program=False)
        else:
            service = RunnerService(
                new.request.url, new.request.token, new.token_usable, lambda: self._identity
            )
            use_program = self._folder is not None and not self.saved.jit
            made = Deregistration(
                self._api, new.token_usable, service=service, use_program=use_program
            )
        made.runner = self._make_runner()
        return made

    def _make_runner(self) -> RegisteredRunner:
        saved, new = self.saved, self._new
        if self._folder is None or new is None or saved.jit:
            return SavedRegistration(saved.name, saved.unique, self._identity.runner_id)
        request = replace(new.request, name=saved.name, unique=saved.unique)
        registration = Registration(self._folder, request, new.env)
        registration.assume_registered(complete=self._folder.has_copies)
        return registration


class KilledAgents:
    """The runners that killed agents registered; each is deregistered as soon as possible."""

    def __init__(self, folder: RunnerFolder, agents: list[KilledAgent]) -> None:
        self.cleanup_step: CleanupStep
        self._folder = folder
        self._agents = agents

    async def deregister_first(
        self,
        registration_request: RegistrationRequest,
        env: Mapping[str, str],
        registration_token: RegistrationToken,
        token_usable: Callable[[], bool],
    ) -> None:
        """Deregister the old runners before the new one is configured in the same folder.

        Whether that works or not, the life goes on. A failed step runs again at the end, but no
        longer with the runner's own program, which then knows only the new runner.
        """
        runner_id = registration_token.runner_id
        new = NewRegistration(registration_request, env, token_usable, runner_id)
        for agent in self._agents:
            agent.use(new)
        try:
            await asyncio.wait([self.cleanup_step.begin()], timeout=PATIENCE)
            if not self.cleanup_step.done:
                await self.cleanup_step.cancel(f"not deregistered within {PATIENCE:g} s")
        finally:
            # Neither done nor failed: a stop came, and the step may go on.
            if self.cleanup_step.done or self.cleanup_step.error:
                for agent in self._agents:
                    agent.leave_folder()

    async def deregister(self) -> str:
        """Deregister all of them; return the methods that worked. Raises RegistrationError.

        The oldest first: only the last one's program may take until the patience ends.
        """
        methods, errors = [], []
        for agent in reversed(self._agents[:]):
            try:
                methods.append(await self._deregister(agent))
            except RegistrationError as error:
                errors.append(str(error))
        if errors:
            raise RegistrationError("; ".join(errors))
        return ", ".join(dict.fromkeys(methods))

    async def _deregister(self, agent: KilledAgent) -> str:
        method = await agent.deregister()
        self._agents.remove(agent)
        self._folder.state_file.delete_earlier(agent.saved)
        agent.leave_folder()
        return method


def find_killed_agents(
    folder: RunnerFolder, cleanup_stack: CleanupStack, api: github.Connection | None
) -> KilledAgents | None:
    """Return the killed agents that the folder's state file names, with a cleanup step; or None."""
    saved = folder.state_file.read()
    if not saved:
        return None
    agents = [
        KilledAgent(folder, runner, api, last=number == 0) for number, runner in enumerate(saved)
    ]
    killed_agents = KilledAgents(folder, agents)
    killed_agents.cleanup_step = cleanup_stack.register_step(
        "predecessor", killed_agents.deregister
    )
    return killed_agents
