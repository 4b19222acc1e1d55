"""How a runner leaves GitHub: by the best way that is open, and the log names which.

1. its job is over: GitHub has removed it (looked up, where a credential allows);
2. GitHub's API, with a credential of our own;
3. the program's own `remove`, with the registration token while that is young;
4. nobody: GitHub removes an ephemeral runner that is offline after one day.
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
from sidecar.runner.configure import Busy, Registration, Trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.runner.listener import Listener

    Way = Callable[["Leaving"], Awaitable[str | None]]

log = structlog.get_logger()

API_PATIENCE = 8.0
"""Seconds that GitHub's API may take where there is another way: it must fit into the budget."""
LOOKS = 4
"""How often a runner whose job is done is looked up before it is deleted after all."""


class Leaving(Protocol):
    """What a departure needs to know of a runner."""

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


class _StillThere(Exception):
    """GitHub still shows a runner whose job is done."""


class Deregistration:
    """One runner's way out of GitHub; `leave` is idempotent."""

    def __init__(
        self,
        api: github.Connection | None,
        usable: Callable[[], bool],
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self.runner: Leaving | None = None
        """The runner, once it is begun to be registered."""
        self.busy = False
        """Whether GitHub refused because the runner has a job."""
        self._api = api
        self._usable = usable
        self._forget = forget
        self._over = False
        self._job_done = False

    @property
    def can_look(self) -> bool:
        """Whether there is a credential to ask GitHub with."""
        return self._api is not None

    async def known(self) -> bool:
        """Ask GitHub whether it knows the runner. Raises GitHubError."""
        return self.runner is not None and await self._still_there(self.runner)

    def listener_ended(self, listener: Listener, *, configured: bool) -> None:
        """Take note that no job can come any more, and whether one ran to its end.

        After its one job an ephemeral listener deletes its own configuration, so that
        `configured` is false: GitHub has removed the runner by then.
        """
        self._over = True
        code = listener.ended.result()
        done = outcomes.outcome(code).exit is Exit.DONE
        self._job_done = listener.had_job and done and not configured

    async def leave(self) -> str:
        """Take the runner away, or say why nobody here can; return the rung.

        Raises RegistrationError.
        """
        rung = await self._left()
        self._forget()
        return rung

    async def _left(self) -> str:
        runner = self.runner
        if runner is None or not runner.exists:
            log.info("runner.deregistered", rung="never-registered")
            return "never-registered"
        if self._job_done and await self._is_gone(runner):
            log.info("runner.deregistered", name=runner.name, rung="github")
            return "github"
        return await self._descend(runner)

    async def _descend(self, runner: Leaving) -> str:
        reasons = []
        for rung, way in (("api", self._by_api), ("registration-token", self._by_program)):
            try:
                reason = await self._patiently(way, runner)
            except (Busy, github.Busy) as busy:
                self.busy = True
                raise RegistrationError(
                    f"cannot deregister {runner.name}: it is still running a job"
                ) from busy
            except SidecarError as error:
                reason = str(error)
            if reason is None:
                log.info("runner.deregistered", name=runner.name, rung=rung)
                return rung
            reasons.append(reason)
        raise RegistrationError(
            f"cannot deregister {runner.name}: {'; '.join(reasons)}; GitHub removes an "
            "offline ephemeral runner after one day"
        )

    async def _patiently(self, way: Way, runner: Leaving) -> str | None:
        """Try one way; once the listener is gone, a runner that GitHub calls busy is awaited."""
        waiting = growing((Trouble, Busy, github.Busy), first=0.5, longest=5.0)

        def pause(error: Exception) -> bool | float:
            # Asked at each refusal: the listener may have ended while GitHub was being asked.
            return (self._over or isinstance(error, Trouble)) and waiting(error)

        async for attempt in stamina.retry_context(on=pause, attempts=None, timeout=None):
            with attempt:
                return await way(runner)
        raise AssertionError  # retry_context returns or raises

    async def _by_api(self, runner: Leaving) -> str | None:
        """Return None when it worked, else why this way is not open."""
        if self._api is None:
            return "there is no credential for GitHub's API"
        patience = API_PATIENCE if isinstance(runner, Registration) and self._usable() else None
        try:
            async with asyncio.timeout(patience):
                return await self._deleted(await self._api.runners(), runner)
        except TimeoutError:
            return f"GitHub's API did not do it within {patience:g} s"

    async def _deleted(self, runners: github.Runners, runner: Leaving) -> str | None:
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

    async def _by_program(self, runner: Leaving) -> str | None:
        if not isinstance(runner, Registration):
            return "a just-in-time runner cannot remove itself"
        if not self._usable():
            return "the registration token is too old"
        await runner.remove()
        return None

    async def _is_gone(self, runner: Leaving) -> bool:
        """Look whether GitHub removed it; without a credential its word is taken."""
        if self._api is None:
            return True
        try:
            async for attempt in stamina.retry_context(
                on=growing(_StillThere, first=0.5, longest=4.0), attempts=LOOKS, timeout=None
            ):
                with attempt:
                    if await self._still_there(runner):
                        raise _StillThere  # noqa: TRY301  what makes it look again
        except _StillThere:
            return False
        except SidecarError as error:
            log.warning("runner.removal_unverified", name=runner.name, reason=str(error))
        return True

    async def _still_there(self, runner: Leaving) -> bool:
        assert self._api is not None  # noqa: S101  asked only where can_look
        runners = await self._api.runners()
        if runner.runner_id is not None:
            return await runners.get(runner.runner_id) is not None
        return await runners.find(runner.name) is not None
