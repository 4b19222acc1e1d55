"""Deregister a runner from GitHub by the first method that works; the log names which one.

1. its job is over: GitHub has removed it (this is looked up, where a credential allows);
2. GitHub's API, with a credential of our own;
3. the program's own `remove`, while the registration token is young;
4. none: GitHub removes an ephemeral runner that is offline after one day.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import stamina
import structlog

from sidecar import github
from sidecar.errors import Exit, RegistrationError, SidecarError
from sidecar.net.retry import growing
from sidecar.runner import outcomes
from sidecar.runner.configure import Busy, Registration, TransientRegistrationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.runner.listener import Listener

    Method = Callable[["RegisteredRunner"], Awaitable[str | None]]
    """Deregisters a runner; returns None, or the reason why the method cannot be used."""

log = structlog.get_logger()

API_PATIENCE = 8.0
"""Seconds for GitHub's API where another method remains, which must fit into the stop budget."""
LOOKS = 4
"""How often a runner whose job is done is looked up before it is deleted."""


class RegisteredRunner(Protocol):
    """What a deregistration needs to know of a runner."""

    @property
    def exists(self) -> bool:
        """Whether GitHub may know it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def unique(self) -> bool:
        """Whether a runner of that name can only be this one."""

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for it, where that is known."""


class _StillRegistered(Exception):
    """GitHub still shows a runner whose job is done."""


class Deregistration:
    """Removes one runner from GitHub; `deregister` may be called again.

    `token_usable` says whether the registration token is still young enough; `forget_runner` is
    called when the runner is removed.
    """

    def __init__(
        self,
        api: github.Connection | None,
        token_usable: Callable[[], bool],
        forget_runner: Callable[[], None] = lambda: None,
    ) -> None:
        self.runner: RegisteredRunner | None = None
        """The runner, from the moment that its registration begins."""
        self.busy = False
        """Whether GitHub refused because the runner has a job."""
        self._api = api
        self._token_usable = token_usable
        self._forget_runner = forget_runner
        self._listener_ended = False
        self._job_done = False

    @property
    def can_ask_github(self) -> bool:
        """Whether there is a credential to ask GitHub with."""
        return self._api is not None

    async def is_known(self) -> bool:
        """Ask GitHub whether it knows the runner. Raises GitHubError."""
        return self.runner is not None and await self._is_registered(self.runner)

    def set_listener_ended(self, listener: Listener, *, configured: bool) -> None:
        """Record that no job can come any more, and whether one ran to its end.

        After its one job an ephemeral listener deletes its own configuration, so that
        `configured` is false: GitHub has removed the runner by then.
        """
        self._listener_ended = True
        code = listener.ended.result()
        done = outcomes.find_outcome(code).exit is Exit.DONE
        self._job_done = listener.had_job and done and not configured

    async def deregister(self) -> str:
        """Remove the runner from GitHub; return the method that worked.

        Raises RegistrationError, with the reason of each method.
        """
        method = await self._deregister()
        self._forget_runner()
        return method

    async def _deregister(self) -> str:
        runner = self.runner
        if runner is None or not runner.exists:
            log.info("runner.deregistered", rung="never-registered")
            return "never-registered"
        if self._job_done and await self._was_removed_by_github(runner):
            log.info("runner.deregistered", name=runner.name, rung="github")
            return "github"
        return await self._try_methods(runner)

    async def _try_methods(self, runner: RegisteredRunner) -> str:
        reasons = []
        for name, method in (("api", self._by_api), ("registration-token", self._by_program)):
            try:
                reason = await self._retry(method, runner)
            except (Busy, github.RunnerBusy) as busy:
                self.busy = True
                raise RegistrationError(
                    f"cannot deregister {runner.name}: it is still running a job"
                ) from busy
            except SidecarError as error:
                reason = str(error)
            if reason is None:
                log.info("runner.deregistered", name=runner.name, rung=name)
                return name
            reasons.append(reason)
        raise RegistrationError(
            f"cannot deregister {runner.name}: {'; '.join(reasons)}; GitHub removes an "
            "offline ephemeral runner after one day"
        )

    async def _retry(self, method: Method, runner: RegisteredRunner) -> str | None:
        """Call one method, and again after transient errors.

        "Busy" is transient too once the listener has ended: GitHub learns of that a little later.
        """
        kinds = (TransientRegistrationError, Busy, github.RunnerBusy)
        pause = growing(kinds, first=0.5, longest=5.0)

        def pause_if_transient(error: Exception) -> bool | float:
            # Judged at each refusal: the listener may have ended while GitHub was asked.
            transient = self._listener_ended or isinstance(error, TransientRegistrationError)
            return transient and pause(error)

        # No limit of its own: the stop budget cuts it.
        async for attempt in stamina.retry_context(
            on=pause_if_transient, attempts=None, timeout=None
        ):
            with attempt:
                return await method(runner)
        raise AssertionError  # retry_context returns or raises

    async def _by_api(self, runner: RegisteredRunner) -> str | None:
        if self._api is None:
            return "there is no credential for GitHub's API"
        another_method = isinstance(runner, Registration) and self._token_usable()
        timeout = API_PATIENCE if another_method else None
        try:
            async with asyncio.timeout(timeout):
                return await self._delete(await self._api.runners(), runner)
        except TimeoutError:
            return f"GitHub's API did not do it within {timeout:g} s"

    async def _delete(self, runners: github.Runners, runner: RegisteredRunner) -> str | None:
        runner_id = runner.runner_id
        if runner_id is None:
            if not runner.unique:
                return "its number is unknown, and its name may be another's"
            found = await runners.find(runner.name)
            if found is None:
                return None
            runner_id = found.id
        await runners.delete(runner_id)
        return None

    async def _by_program(self, runner: RegisteredRunner) -> str | None:
        if not isinstance(runner, Registration):
            return "a just-in-time runner cannot remove itself"
        if not self._token_usable():
            return "the registration token is too old"
        await runner.remove()
        return None

    async def _was_removed_by_github(self, runner: RegisteredRunner) -> bool:
        """Look up whether GitHub removed it; without a credential assume so."""
        if self._api is None:
            return True
        try:
            async for attempt in stamina.retry_context(
                on=growing(_StillRegistered, first=0.5, longest=4.0), attempts=LOOKS, timeout=None
            ):
                with attempt:
                    if await self._is_registered(runner):
                        raise _StillRegistered  # noqa: TRY301  causes another look
        except _StillRegistered:
            return False
        except SidecarError as error:
            log.warning("runner.removal_unverified", name=runner.name, reason=str(error))
        return True

    async def _is_registered(self, runner: RegisteredRunner) -> bool:
        assert self._api is not None  # noqa: S101  called only where can_ask_github
        runners = await self._api.runners()
        if runner.runner_id is not None:
            return await runners.get(runner.runner_id) is not None
        return await runners.find(runner.name) is not None
