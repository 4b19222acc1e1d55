"""A runner that is registered just in time: its configuration is handed over, not made here."""

from __future__ import annotations

import asyncio
import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from sidecar import github
from sidecar.errors import RegistrationError, TokenError
from sidecar.runner.configure import RENAMES, renamed
from sidecar.tokens import value

if TYPE_CHECKING:
    from sidecar.runner.configure import RegistrationRequest
    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.program import Finished

log = structlog.get_logger()

DEFAULT_GROUP = 1
"""The id of the group "Default" in every scope."""


class JustInTime:
    """The runner at GitHub; it can be removed by GitHub's API alone, never by its own program.

    Where the right holds no configuration, GitHub's API is asked for one: that registers.
    """

    def __init__(
        self,
        root: RunnerFolder,
        registration_request: RegistrationRequest,
        right: value.RegistrationToken,
        api: github.Connection | None,
        patience: float,
    ) -> None:
        self.registration_request = registration_request
        self.complete = False
        self._root = root
        self._right = right
        self._api = api
        self._patience = patience
        self._asked = False

    @property
    def exists(self) -> bool:
        """Whether GitHub may know the runner."""
        return self._asked or self._right.jit is not None

    @property
    def name(self) -> str:
        """The name it was registered under."""
        return self._right.name or self.registration_request.name

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for it."""
        return self._right.runner_id

    @property
    def unique(self) -> bool:
        """Whether a runner of that name can only be ours; matters while its number is unknown."""
        return self.registration_request.unique

    def maybe_there(self) -> None:
        """Take over what another agent began."""
        self._asked = True

    async def register(self, finished: Finished | None = None) -> None:
        """Write its configuration into the runner's folder; raises RegistrationError.

        If GitHub is asked for it when a stop comes, its answer is awaited as long as `finished`
        waits: it tells which runner to take away.
        """
        if self._right.jit is None:
            await self._configured(finished)
        assert self._right.jit is not None  # noqa: S101  that is what makes it just in time
        self._root.memory.begin(self.name, unique=self.unique, jit=True)
        self._root.unpack(self._right.jit)
        self._root.keep_copies()
        self.complete = True
        log.info(
            "runner.registered",
            name=self.name,
            url=self.registration_request.url,
            just_in_time=True,
        )

    async def _configured(self, finished: Finished | None) -> None:
        asking = asyncio.create_task(self._ask())
        try:
            await asyncio.wait([asking], timeout=self._patience)
            if not asking.done():
                raise RegistrationError(
                    f"cannot register {self.name} just in time: GitHub did not do it within "
                    f"{self._patience:g} s (SIDECAR_TOKEN_TIMEOUT)"
                )
        except asyncio.CancelledError:
            if finished is not None:
                log.info("runner.configure_awaited", verb="generate-jitconfig")
                await finished(asking)
            raise
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            error = None if asking.cancelled() else asking.exception()
        if error is not None:
            raise error

    async def _ask(self) -> int:
        """Register just in time through GitHub's API; return the runner's number."""
        assert self._api is not None  # noqa: S101  settings.load() has seen to it
        runners = await self._api.runners()
        group = (
            DEFAULT_GROUP
            if self.registration_request.group is None
            else _group(self.registration_request.group)
        )
        for _ in range(RENAMES):
            try:
                self._asked = True  # before the call: its answer may be lost
                self._root.memory.begin(
                    self.registration_request.name, unique=self.unique, jit=True
                )
                return self._take(
                    await runners.jit(
                        self.registration_request.name,
                        labels(self.registration_request),
                        group,
                        self.registration_request.work_dir,
                    )
                )
            except github.NameTaken as taken:
                if not (self.registration_request.unique and await self._released(runners)):
                    ours = taken.tries > 1
                    log.warning("runner.name_taken", name=self.registration_request.name, ours=ours)
                    self.registration_request = replace(
                        self.registration_request,
                        name=renamed(self.registration_request.name),
                        unique=True,
                    )
            except github.GitHubError as error:
                self._asked = isinstance(error, github.Passing)
                raise RegistrationError(
                    f"cannot register {self.name} just in time: {error}"
                ) from error
        self._asked = False
        raise RegistrationError(
            f"cannot register just in time: {self.name} is taken (SIDECAR_NAME)"
        )

    def _take(self, config: github.Jit) -> int:
        self._right = replace(self._right, runner_id=config.runner_id, name=config.name)
        right = value.jit(config.blob, "GitHub's answer")
        if right is None:
            raise TokenError("cannot use GitHub's just-in-time configuration: unknown form")
        self._right = replace(right, runner_id=config.runner_id, name=config.name)
        return config.runner_id

    async def _released(self, runners: github.Runners) -> bool:
        """Take away what bears our name and nobody listens for: its answer never reached us."""
        found = await runners.find(self.registration_request.name)
        if found is None or found.online or found.busy:
            return False
        await runners.delete(found.id)
        return True


def labels(registration_request: RegistrationRequest) -> tuple[str, ...]:
    """Return all labels: just in time GitHub adds none by itself."""
    if registration_request.no_default_labels:
        return registration_request.labels
    machine = {"x86_64": "X64", "amd64": "X64", "aarch64": "ARM64", "arm64": "ARM64"}
    system = {"Linux": "Linux", "Windows": "Windows", "Darwin": "macOS"}
    own = (
        "self-hosted",
        system.get(platform.system(), platform.system()),
        machine.get(platform.machine().lower(), platform.machine()),
    )
    return tuple(dict.fromkeys((*own, *registration_request.labels)))


def _group(name: str) -> int:
    if not name.isdigit():
        raise RegistrationError(
            f"cannot register just in time in the group {name!r}: SIDECAR_RUNNER_GROUP must be "
            "the group's number here (example: SIDECAR_RUNNER_GROUP=1)"
        )
    return int(name)
