"""Register a runner with a just-in-time (JIT) configuration, given or requested from GitHub."""

from __future__ import annotations

import asyncio
import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from sidecar import github
from sidecar.errors import RegistrationError, TokenError
from sidecar.runner.configure import RENAMES
from sidecar.runner.registration_request import add_suffix
from sidecar.tokens import value

if TYPE_CHECKING:
    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.program import WaitAtStop
    from sidecar.runner.registration_request import RegistrationRequest

log = structlog.get_logger()

GROUP_SETTINGS = "SIDECAR_RUNNER_GROUP, SIDECAR_GITHUB_URL"


class JustInTimeRegistration:
    """One runner's just-in-time registration; only GitHub's API can remove it.

    Without a given configuration, GitHub's API is asked for one: that registers the runner.
    """

    def __init__(
        self,
        folder: RunnerFolder,
        registration_request: RegistrationRequest,
        registration_token: value.RegistrationToken,
        api: github.Connection | None,
        timeout: float,
    ) -> None:
        self.registration_request = registration_request
        self.complete = False
        self._folder = folder
        self._token = registration_token
        self._api = api
        self._timeout = timeout
        self._requested = False

    @property
    def exists(self) -> bool:
        """Whether GitHub may know the runner."""
        return self._requested or self._token.jit is not None

    @property
    def name(self) -> str:
        """The name it was registered under."""
        return self._token.name or self.registration_request.name

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for it."""
        return self._token.runner_id

    @property
    def unique(self) -> bool:
        """Whether a runner of that name can only be ours; matters while its number is unknown."""
        return self.registration_request.unique

    async def register(self, wait_at_stop: WaitAtStop | None = None) -> None:
        """Write the runner's configuration into its folder; request it from GitHub if not given.

        If a stop comes during the request, GitHub's answer is awaited for as long as
        `wait_at_stop` waits: it says which runner to remove. Raises RegistrationError.
        """
        if self._token.jit is None:
            await self._request_configuration(wait_at_stop)
        assert self._token.jit is not None  # noqa: S101  requested above, if it was not given
        self._folder.state_file.save_runner(self.name, unique=self.unique, jit=True)
        self._folder.write_configuration(self._token.jit)
        self._folder.save_copies()
        self.complete = True
        log.info(
            "runner.registered",
            name=self.name,
            url=self.registration_request.url,
            just_in_time=True,
        )

    async def _request_configuration(self, wait_at_stop: WaitAtStop | None) -> None:
        request = asyncio.create_task(self._register_by_api())
        try:
            await asyncio.wait([request], timeout=self._timeout)
            if not request.done():
                raise RegistrationError(
                    f"cannot register {self.name} just in time: GitHub did not do it within "
                    f"{self._timeout:g} s (SIDECAR_TOKEN_TIMEOUT)"
                )
        except asyncio.CancelledError:
            if wait_at_stop is not None:
                log.info("runner.configure_awaited", verb="generate-jitconfig")
                await wait_at_stop(request)
            raise
        finally:
            request.cancel()
            await asyncio.wait([request])
            error = None if request.cancelled() else request.exception()
        if error is not None:
            raise error

    async def _register_by_api(self) -> int:
        """Register just in time through GitHub's API; return the runner's number."""
        assert self._api is not None  # noqa: S101  settings.load() checks it
        runners = await self._api.runners()
        group = await self._find_group(self._api, self.registration_request.group)
        for _ in range(RENAMES):
            request = self.registration_request
            try:
                self._requested = True  # before the call: its answer may be lost
                self._folder.state_file.save_runner(request.name, unique=self.unique, jit=True)
                return self._use(
                    await runners.create_jit_config(
                        request.name, labels(request), group, request.work_dir
                    )
                )
            except github.NameTaken as taken:
                if not (request.unique and await self._remove_stale(runners)):
                    log.warning("runner.name_taken", name=request.name, ours=taken.tries > 1)
                    self.registration_request = replace(
                        request, name=add_suffix(request.name), unique=True
                    )
            except github.GitHubError as error:
                self._requested = isinstance(error, github.TransientError)
                raise RegistrationError(
                    f"cannot register {self.name} just in time: {error}"
                ) from error
        self._requested = False
        raise RegistrationError(
            f"cannot register just in time: {self.name} is taken (SIDECAR_NAME)"
        )

    async def _find_group(self, connection: github.Connection, name: str | None) -> int:
        """Return the number of the group. Raises RegistrationError."""
        if (number := github.read_group_number(name)) is not None:
            return number
        scope = github.Scope.from_url(connection.url or "")
        try:
            return await github.find_group(
                await connection.api(), scope, name or "", GROUP_SETTINGS
            )
        except github.GitHubError as error:
            hint = github.advise(error, "needs to read runner groups; or set the group's number")
            raise RegistrationError(
                f"cannot register just in time in the group {name!r}: {error}{hint}"
            ) from error

    def _use(self, config: github.JitConfig) -> int:
        self._token = replace(self._token, runner_id=config.runner_id, name=config.name)
        token = value.parse_jit_config(config.blob, "GitHub's answer")
        if token is None:
            raise TokenError("cannot use GitHub's just-in-time configuration: unknown form")
        self._token = replace(token, runner_id=config.runner_id, name=config.name)
        return config.runner_id

    async def _remove_stale(self, runners: github.Runners) -> bool:
        """Delete an offline runner of our unique name: the answer to an earlier try was lost."""
        found = await runners.find(self.registration_request.name)
        if found is None or found.online or found.busy:
            return False
        await runners.delete(found.id)
        return True


def labels(registration_request: RegistrationRequest) -> tuple[str, ...]:
    """Return all labels: GitHub adds no default labels to a just-in-time runner."""
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
