"""Register a runner with the program's own `configure`, and deregister it with its `remove`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import stamina
import structlog

from sidecar.errors import Exit, RegistrationError
from sidecar.net.retry import growing
from sidecar.runner.program import ProgramResult, Subcommand, run_program
from sidecar.runner.registration_request import add_suffix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.program import WaitAtStop
    from sidecar.runner.registration_request import RegistrationRequest

log = structlog.get_logger()

CONFIGURE_TIMEOUT, REMOVE_TIMEOUT = 120.0, 30.0
"""Seconds for one run of the program."""
ATTEMPTS = 4
RENAMES = 5
TAKEN = "A runner exists with the same name"
CONNECTED = "Connected to GitHub"
ADDED = ("Runner successfully added", "Successfully replaced the runner")
MISSING = "config files are missing"
OUTDATED = re.compile(r"[Rr]unner version \S+ is deprecated")
NOT_SUPPORTED = "does not support configuring a self-hosted runner with"
"""An old GitHub server does not know a flag. The program says so when it has added the runner."""
NO_UPDATE_FLAG = f"{NOT_SUPPORTED} 'DisableUpdate' flag"
FINAL = (
    # A second try would not change these. The runner prints a status by name and by number; the
    # bare number could as well be a port or part of a name.
    "response code: NotFound", "response code: Unauthorized", "response code: Forbidden",
    "response code: BadRequest", "response code: UnprocessableEntity",
    "success: 400", "success: 401", "success: 403", "success: 404", "success: 422",
    "Could not find any self-hosted runner group", "Invalid configuration", "not a valid",
    "already configured", NOT_SUPPORTED,
)  # fmt: skip
GONE = "response code: NotFound from 'Delete "
"""GitHub does not know the runner that should be deleted."""
HINTS = (
    # What the user can do, by what the program printed; the first that fits.
    (("Could not find any self-hosted runner group",), "is SIDECAR_RUNNER_GROUP right?"),
    (
        ("response code: NotFound", "response code: Unauthorized", "success: 401", "success: 404"),
        "is the token younger than an hour, and for this SIDECAR_GITHUB_URL?",
    ),
    (
        ("response code: Forbidden", "success: 403"),
        "may runners be registered at this SIDECAR_GITHUB_URL, with this token?",
    ),
    ((NO_UPDATE_FLAG,), "set SIDECAR_DISABLE_UPDATE=false"),
    ((NOT_SUPPORTED,), "this GitHub server is too old for runners of one job"),
    (("already configured",), "is another agent using this SIDECAR_RUNNER_DIR?"),
)


class TransientRegistrationError(RegistrationError):
    """The program failed in a way that a second try may mend."""


class NameTaken(RegistrationError):
    """Another runner has the name."""


class Deprecated(RegistrationError):
    """GitHub does not accept this version of the runner any more."""

    exit = Exit.DEPRECATED


class UpdateFlagRefused(RegistrationError):
    """The GitHub server does not know `--disableupdate`; the runner is registered all the same."""


class Busy(RegistrationError):
    """GitHub does not remove a runner that has a job."""


class Registration:
    """One runner's registration at GitHub, made and removed by the runner's own program."""

    def __init__(
        self,
        folder: RunnerFolder,
        registration_request: RegistrationRequest,
        env: Mapping[str, str],
    ) -> None:
        self.registration_request = registration_request
        self.complete = False
        """Whether configure succeeded."""
        self._folder = folder
        self._env = env
        self._added = False  # or may have been
        self._unknown = False  # a runner of this name may be ours or another's

    # -- register ------------------------------------------------------------------------------

    async def register(self, wait_at_stop: WaitAtStop | None = None) -> None:
        """Register the runner; retry transient errors, rename it if its name is taken.

        A try that a stop interrupts may finish for as long as `wait_at_stop` waits. Raises
        RegistrationError.
        """
        for _ in range(RENAMES):
            try:
                await self._configure(wait_at_stop)
            except NameTaken as taken:
                log.warning("runner.name_taken", name=self.name, ours=self._unknown)
                self.registration_request = replace(
                    self.registration_request, name=add_suffix(self.name), unique=True
                )
                self._unknown = False
                last = taken
            else:
                self.complete, self._unknown = True, False
                self._folder.save_copies()
                log.info("runner.registered", name=self.name, url=self.registration_request.url)
                return
        raise last

    async def _configure(self, wait_at_stop: WaitAtStop | None) -> None:
        """Configure; once without `--disableupdate` where the GitHub server does not know that."""
        try:
            await self._configure_as_requested(wait_at_stop)
        except UpdateFlagRefused as refused:
            log.warning("runner.update_flag_refused", name=self.name, reason=str(refused))
            request = replace(self.registration_request, disable_update=False)
            self.registration_request = request
            await self._configure_as_requested(wait_at_stop)

    async def _configure_as_requested(self, wait_at_stop: WaitAtStop | None) -> None:
        async for attempt in stamina.retry_context(
            on=growing(TransientRegistrationError, first=2.0, longest=15.0),
            attempts=ATTEMPTS,
            timeout=None,
        ):
            with attempt:
                await self._configure_once(wait_at_stop)

    async def _configure_once(self, wait_at_stop: WaitAtStop | None = None) -> None:
        replaces, request = self._added, self.registration_request
        stale = self._folder.is_configured  # whatever it says, this try did not write it
        subcommand = Subcommand("configure", request.arguments(replaces=replaces), request.token)
        self._folder.state_file.save_runner(self.name, unique=self.unique)
        result = ProgramResult()
        try:
            await run_program(
                self._folder,
                subcommand,
                self._env,
                result,
                timeout=CONFIGURE_TIMEOUT,
                wait_at_stop=wait_at_stop,
            )
        finally:
            # If the run was cut, or GitHub's answer was lost, the runner may be registered
            # although no line says so.
            lost = (
                result.code != 0
                and result.contains(CONNECTED)
                and not result.contains(TAKEN, *FINAL)
                and not _is_outdated(result)
            )
            added = result.contains(*ADDED, NOT_SUPPORTED)
            self._added |= added or (lost and request.unique)
            self._unknown = (self._unknown or lost) and not self._added
        # Configure writes `.runner` last: it may have hung, or crashed, after that.
        written = not stale and self._folder.is_configured_as(self.name)
        if result.code != 0 and not written:
            raise self._explain(result, replaces=replaces)

    def _explain(self, result: ProgramResult, *, replaces: bool) -> RegistrationError:
        """Return the error of a configure that failed."""
        reason = (
            result.reason if result.code is not None else f"no end after {CONFIGURE_TIMEOUT:g} s"
        )
        message = f"cannot register the runner at {self.registration_request.url}: {reason}"
        if result.contains(TAKEN) and not replaces:
            return NameTaken(
                f"cannot register the runner: the name {self.name} is taken (SIDECAR_NAME)"
            )
        if _is_outdated(result):
            return Deprecated(f"{message} (build the image anew with the newest actions/runner)")
        if result.contains(*FINAL):
            hint = next((text for parts, text in HINTS if result.contains(*parts)), None)
            message = f"{message} ({hint})" if hint else message
            is_flag = self.registration_request.disable_update and result.contains(NO_UPDATE_FLAG)
            return UpdateFlagRefused(message) if is_flag else RegistrationError(message)
        return TransientRegistrationError(message)

    def assume_registered(self, *, complete: bool) -> None:
        """Take over a registration that another agent began.

        It is `complete` if there are copies of its files.
        """
        self.complete = complete
        self._added = not complete and self.registration_request.unique
        self._unknown = not complete and not self.registration_request.unique

    # -- deregister ----------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether GitHub may know the runner."""
        return self.complete or self._added or self._unknown or self._is_configured

    @property
    def _is_configured(self) -> bool:
        return self._folder.is_configured_as(self.name)

    @property
    def name(self) -> str:
        """The runner's name, or the last one that was tried."""
        return self.registration_request.name

    @property
    def unique(self) -> bool:
        """Whether a runner of that name can only be ours."""
        return self.registration_request.unique or self._added

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for the runner, as configure wrote it into `.runner`."""
        return self._folder.runner_id if self.complete else None

    async def remove(self) -> None:
        """Run the program's `remove`.

        Raises Busy, TransientRegistrationError or RegistrationError.
        """
        if self._unknown and not self._is_configured:
            raise RegistrationError(
                f"cannot tell whether {self.name} is registered: GitHub's answer was lost, and a "
                "runner of that name may be another's (SIDECAR_NAME)"
            )
        if not self._is_configured and not self.complete:
            # It is at GitHub, but its keys were never saved: replace it, then remove it.
            await self._configure_once()
        if self.complete and self._folder.user is None:  # else the call gets the copies alone
            self._folder.restore_copies()
        result = ProgramResult()
        subcommand = Subcommand("remove", (), self.registration_request.token)
        await run_program(self._folder, subcommand, self._env, result, timeout=REMOVE_TIMEOUT)
        if result.contains(GONE):
            return
        if result.contains("still running a job"):
            raise Busy(f"cannot deregister {self.name}: it is still running a job")
        if result.code != 0 or result.contains(MISSING):
            final = result.contains(*FINAL, MISSING)
            kind = RegistrationError if final else TransientRegistrationError
            raise kind(f"cannot deregister {self.name}: {result.reason}")


def _is_outdated(result: ProgramResult) -> bool:
    return any(OUTDATED.search(line) for line in result.lines)
