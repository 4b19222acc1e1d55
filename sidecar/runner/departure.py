"""How a runner leaves GitHub: by the best way that is open, and the log names which.

1. its job is over: GitHub has removed it (looked up, where a credential allows);
2. GitHub's API, with a credential of our own;
3. the program's own `remove`, with the registration token while that is young;
4. nobody: GitHub removes an ephemeral runner that is offline after one day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import stamina
import structlog

from sidecar import github
from sidecar.errors import RegistrationError
from sidecar.retry import growing
from sidecar.runner import outcomes
from sidecar.runner.registration import Busy, Registration, Trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.runner.listener import Listener

log = structlog.get_logger()

LOOKS = 4
"""How often a runner whose job is done is looked up before it is deleted after all."""


class Leaving(Protocol):
    """What a departure needs to know of a runner."""

    @property
    def exists(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def runner_id(self) -> int | None: ...


class _StillThere(Exception):
    """GitHub still shows a runner whose job is done."""


class Departure:
    """One runner's way out of GitHub; `leave` is idempotent."""

    def __init__(
        self,
        runner: Leaving,
        runners: Callable[[], Awaitable[github.Runners]] | None,
        usable: Callable[[], bool],
    ) -> None:
        self.busy = False
        """Whether GitHub refused because the runner has a job."""
        self._runner = runner
        self._runners = runners
        self._usable = usable
        self._over = False
        self._job_done = False
        self._configured: Callable[[], bool] = lambda: True

    def listener_ended(self, listener: Listener, *, configured: bool) -> None:
        """Take note that no job can come any more, and whether one ran to its end.

        After its one job an ephemeral listener deletes its own configuration, so that
        `configured` is false: GitHub has removed the runner by then.
        """
        self._over = True
        code = listener.ended.result()
        done = code == 0 or code >= outcomes.FIRST_JOB_RESULT
        self._job_done = listener.had_job and done and not configured

    async def leave(self) -> None:
        """Take the runner away, or say why nobody here can. Raises RegistrationError."""
        if not self._runner.exists:
            self._left("never-registered")
        elif self._job_done and await self._is_gone():
            self._left("github")
        else:
            await self._descend()

    async def _descend(self) -> None:
        reasons = []
        for rung, way in (("api", self._by_api), ("registration-token", self._by_program)):
            try:
                reason = await self._patiently(way)
            except (Busy, github.Busy) as busy:
                self.busy = True
                raise RegistrationError(
                    f"cannot deregister {self._runner.name}: it is still running a job"
                ) from busy
            except (RegistrationError, github.GitHubError) as error:
                reason = str(error)
            if reason is None:
                self._left(rung)
                return
            reasons.append(reason)
        raise RegistrationError(
            f"cannot deregister {self._runner.name}: {'; '.join(reasons)}; GitHub removes an "
            "offline ephemeral runner after one day"
        )

    async def _patiently(self, way: Callable[[], Awaitable[str | None]]) -> str | None:
        """Try one way; once the listener is gone, a runner that GitHub calls busy is awaited."""
        passing = (Trouble, Busy, github.Busy) if self._over else (Trouble,)
        async for attempt in stamina.retry_context(
            on=growing(passing, first=0.5, longest=5.0), attempts=None, timeout=None
        ):
            with attempt:
                return await way()
        raise AssertionError  # retry_context returns or raises

    async def _by_api(self) -> str | None:
        """Return None when it worked, else why this way is not open."""
        if self._runners is None:
            return "there is no credential for GitHub's API"
        runners = await self._runners()
        runner_id = self._runner.runner_id
        if runner_id is None:
            found = await runners.find(self._runner.name)
            if found is None:
                return None
            runner_id = found.id
        await runners.delete(runner_id)
        return None

    async def _by_program(self) -> str | None:
        if not isinstance(self._runner, Registration):
            return "a just-in-time runner cannot remove itself"
        if not self._usable():
            return "the registration token is too old"
        await self._runner.remove()
        return None

    async def _is_gone(self) -> bool:
        """Look whether GitHub removed it; without a credential its word is taken."""
        if self._runners is None:
            return True
        try:
            async for attempt in stamina.retry_context(
                on=growing(_StillThere, first=0.5, longest=4.0), attempts=LOOKS, timeout=None
            ):
                with attempt:
                    if await self._still_there(await self._runners()):
                        raise _StillThere
        except _StillThere:
            return False
        except github.GitHubError as error:
            log.warning("runner.unverified", name=self._runner.name, reason=str(error))
        return True

    async def _still_there(self, runners: github.Runners) -> bool:
        if self._runner.runner_id is not None:
            return await runners.get(self._runner.runner_id) is not None
        return await runners.find(self._runner.name) is not None

    def _left(self, rung: str) -> None:
        log.info("runner.deregistered", name=self._runner.name, rung=rung)
