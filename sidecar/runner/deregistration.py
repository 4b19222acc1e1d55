"""Deregister a runner from GitHub by the first method that works; the log names which one.

1. its job is over: GitHub has removed it (this is looked up: a job can end its listener so);
2. GitHub's API, with a credential of our own;
3. the runner services, with the registration token while it is young;
4. the program's own `remove`, with the same token;
5. none: the runner may be gone, which its own key tells; else GitHub removes an ephemeral runner
   that is offline after one day.
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
    from collections.abc import Awaitable, Callable, Iterator

    from sidecar.runner.listener import Listener
    from sidecar.runner.runner_service import RunnerService

    Method = Callable[["RegisteredRunner"], Awaitable[str | None]]
    """Deregisters a runner; returns None, or the reason why the method cannot be used."""

log = structlog.get_logger()

API_PATIENCE = 8.0
"""Seconds for GitHub's answers where another method remains, which must fit into the budget."""
LOOKS, LOOKS_ALONE = 4, 8
"""How often a runner whose job is done is looked up before it is deleted, or cannot be."""
REFUSALS = 3
"""How often GitHub may call a runner busy that cannot have a job any more."""
KILLED = 128 + 9
"""The exit code that `run.sh` has for a killed listener."""


class RegisteredRunner(Protocol):
    """The facts of a runner that a deregistration needs."""

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
    called when the runner is removed. `service` is what else knows the runner's token and key;
    without `use_program` the runner's program is not run.
    """

    def __init__(
        self,
        api: github.Connection | None,
        token_usable: Callable[[], bool],
        forget_runner: Callable[[], None] = lambda: None,
        *,
        service: RunnerService | None = None,
        use_program: bool = True,
    ) -> None:
        self.runner: RegisteredRunner | None = None
        """The runner, from the moment that its registration begins."""
        self.busy = False
        """Whether GitHub refused because the runner has a job."""
        self._api = api
        self._token_usable = token_usable
        self._forget_runner = forget_runner
        self._service = service
        self._use_program = use_program
        self._listener_ended = False
        self._job_done = False
        self._refusals: int | None = None
        """How often "busy" is believed to pass after the listener's end; None: until the end."""
        self._final: dict[str, str] = {}
        """Why a method cannot work in this life: what GitHub refused for good is not repeated."""
        self._token_refused = False

    @property
    def can_ask_github(self) -> bool:
        """Whether there is something to ask GitHub with."""
        return self._api is not None or (self._service is not None and self._service.can_ask)

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
        # After a kill GitHub holds the job, and after a listener without one nothing will pass.
        killed = code < 0 or code == KILLED
        self._refusals = None if listener.had_job and not killed else REFUSALS

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
        reasons: list[str] = []
        method = await self._try_methods(runner, reasons)
        if method is None and await self._is_seen_gone(runner):
            method = "github"
        if method is None:
            raise RegistrationError(
                f"cannot deregister {runner.name}: {'; '.join(reasons)}; GitHub removes an "
                "offline ephemeral runner after one day"
            )
        log.info("runner.deregistered", name=runner.name, rung=method)
        return method

    async def _try_methods(self, runner: RegisteredRunner, reasons: list[str]) -> str | None:
        """Return the first method that works; None, and the reason of each, if none does."""
        for name, method in self._list_methods():
            reason = self._final.get(name) or await self._try_method(name, method, runner)
            if reason is None:
                return name
            reasons.append(reason)
        return None

    def _list_methods(self) -> Iterator[tuple[str, Method]]:
        yield "api", self._by_api
        if self._usable_service() is not None:
            yield "registration-token", self._by_service
        # A token that the services refused would be refused to the program too.
        if self._use_program and not self._token_refused:
            yield "program", self._by_program

    async def _try_method(self, name: str, method: Method, runner: RegisteredRunner) -> str | None:
        """Try one method; return None, or why it did not work. Raises RegistrationError if busy."""
        try:
            return await self._retry(method, runner)
        except (Busy, github.RunnerBusy) as busy:
            self.busy = True
            held = (
                "; GitHub holds a job that its runner did not end for about ten minutes, then "
                "removes the runner"
            )
            raise RegistrationError(
                f"cannot deregister {runner.name}: it is still running a job"
                + (held if self._listener_ended else "")
            ) from busy
        except SidecarError as error:
            if name == "registration-token" and isinstance(error, github.PermissionDenied):
                self._token_refused = True
            if _is_final(error):
                self._final[name] = str(error)
            return str(error)

    async def _retry(self, method: Method, runner: RegisteredRunner) -> str | None:
        """Call one method, and again after transient errors.

        "Busy" is transient too once the listener has ended: GitHub learns of that a little later.
        """
        kinds = (TransientRegistrationError, Busy, github.RunnerBusy)
        pause, refusals = growing(kinds, first=0.5, longest=5.0), 0

        def pause_if_transient(error: Exception) -> bool | float:
            # Judged at each refusal: the listener may have ended while GitHub was asked.
            nonlocal refusals
            if isinstance(error, Busy | github.RunnerBusy):
                refusals += 1
                most = self._refusals if self._listener_ended else 0
                if most is not None and refusals >= most:
                    return False
            return pause(error)

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
        by_program = self._use_program and isinstance(runner, Registration)
        by_token = self._usable_service() is not None or (by_program and self._token_usable())
        timeout = API_PATIENCE if by_token else None
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

    def _usable_service(self) -> RunnerService | None:
        """Return the runner services if they can remove the runner."""
        usable = self._service is not None and self._service.usable_token is not None
        return self._service if usable else None

    async def _by_service(self, runner: RegisteredRunner) -> str | None:
        service = self._usable_service()
        if service is None:
            return "the registration token is too old"
        if runner.runner_id is None:
            return "its number is unknown, which the runner services need"
        timeout = API_PATIENCE if self._use_program else None
        try:
            async with asyncio.timeout(timeout):
                await service.deregister(runner.runner_id)
        except TimeoutError:
            return f"GitHub's runner services did not do it within {timeout:g} s"
        return None

    async def _by_program(self, runner: RegisteredRunner) -> str | None:
        if not isinstance(runner, Registration):
            return "a just-in-time runner cannot remove itself"
        if not self._token_usable():
            return "the registration token is too old"
        await runner.remove()
        return None

    async def _was_removed_by_github(self, runner: RegisteredRunner) -> bool:
        """Look up whether GitHub removed it; without a clear answer it is not taken for removed.

        A job can delete `.runner` and end its listener with 0, and keep the runner's key.
        """
        another_method = self._api is not None or self._usable_service() is not None
        looks = LOOKS if another_method else LOOKS_ALONE
        try:
            async for attempt in stamina.retry_context(
                on=growing(_StillRegistered, first=0.5, longest=4.0), attempts=looks, timeout=None
            ):
                with attempt:
                    if await self._is_registered(runner):
                        raise _StillRegistered  # noqa: TRY301  causes another look
        except _StillRegistered:
            return False
        except SidecarError as error:
            log.warning("runner.removal_unverified", name=runner.name, reason=str(error))
            return False
        return True

    async def _is_seen_gone(self, runner: RegisteredRunner) -> bool:
        """Look once whether somebody else removed a runner that no method here could ask about.

        The launcher deletes a runner before it stops the task: a just-in-time runner has nothing
        but its own key to learn that with.
        """
        was_asked = self._usable_service() is not None and not self._token_refused
        if self._api is not None or self._job_done or was_asked or not self.can_ask_github:
            return False
        try:
            return not await self._is_registered(runner)
        except SidecarError as error:
            log.warning("runner.removal_unverified", name=runner.name, reason=str(error))
            return False

    async def _is_registered(self, runner: RegisteredRunner) -> bool:
        if self._api is None:
            if self._service is None:
                raise github.GitHubError("there is nothing to ask GitHub with")
            return await self._service.is_registered(runner.runner_id, runner.name)
        runners = await self._api.runners()
        if runner.runner_id is not None:
            return await runners.get(runner.runner_id) is not None
        return await runners.find(runner.name) is not None


def _is_final(error: SidecarError) -> bool:
    """Whether GitHub would refuse again, whenever it is asked."""
    if isinstance(error, github.GitHubError):
        return not isinstance(error, github.TransientError)
    registration = isinstance(error, RegistrationError)
    return registration and not isinstance(error, TransientRegistrationError)
