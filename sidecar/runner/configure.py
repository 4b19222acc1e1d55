"""Registering the runner with GitHub, and taking it away again."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import stamina
import structlog

from sidecar.errors import Exit, RegistrationError
from sidecar.net.retry import growing
from sidecar.runner.program import Ran, Verb, ran, text_arguments
from sidecar.values import NAME_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.program import Finished

log = structlog.get_logger()

CONFIGURE_TIMEOUT, REMOVE_TIMEOUT = 120.0, 30.0
"""Seconds for one run of the program."""
ATTEMPTS = 4
RENAMES = 5
TAKEN = "A runner exists with the same name"
REACHED = "Connected to GitHub"
ADDED = ("Runner successfully added", "Successfully replaced the runner")
MISSING = "config files are missing"
OUTDATED = re.compile(r"[Rr]unner version \S+ is deprecated")
FINAL = (
    # What a second try would not change. The runner prints a status by name and by number; the
    # bare number could as well be a port or part of a name.
    "response code: NotFound", "response code: Unauthorized", "response code: Forbidden",
    "response code: BadRequest", "response code: UnprocessableEntity",
    "success: 400", "success: 401", "success: 403", "success: 404", "success: 422",
    "Could not find any self-hosted runner group", "Invalid configuration", "not a valid",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """What to register."""

    url: str
    token: str | None = field(repr=False)
    name: str
    labels: tuple[str, ...]
    no_default_labels: bool
    group: str | None
    work_dir: str
    unique: bool = False
    """Whether the agent made the name up, so that no other runner can bear it."""

    def arguments(self, *, replaces: bool) -> tuple[str, ...]:
        """Write it as the arguments of configure; the token is not among them."""
        flags = ["--unattended", "--ephemeral", "--disableupdate"]
        flags += ["--no-default-labels"] * self.no_default_labels + ["--replace"] * replaces
        words = text_arguments(
            url=self.url,
            name=self.name,
            labels=",".join(self.labels),
            runnergroup=self.group,
            work=self.work_dir,
        )
        return (*flags, *words)


class Trouble(RegistrationError):
    """Configure failed in a way that may pass."""


class NameTaken(RegistrationError):
    """Another runner has the name."""


class Deprecated(RegistrationError):
    """GitHub takes no runner of this version any more."""

    exit = Exit.DEPRECATED


class Busy(RegistrationError):
    """GitHub does not let a runner go that has a job."""


class Registration:
    """The runner at GitHub, from the moment it may be there until it is gone."""

    def __init__(
        self, root: RunnerFolder, registration_request: RegistrationRequest, env: Mapping[str, str]
    ) -> None:
        self.registration_request = registration_request
        self.complete = False
        """Whether configure succeeded."""
        self._root = root
        self._env = env
        self._added = False  # or may have been
        self._unknown = False  # and if it is, then under a name that may be somebody else's

    # -- there ---------------------------------------------------------------------------------

    async def register(self, finished: Finished | None = None) -> None:
        """Register, retrying what may pass; raises RegistrationError.

        A try that is under way when a stop comes may finish for as long as `finished` waits.
        """
        for _ in range(RENAMES):
            try:
                await self._configure_patiently(finished)
            except NameTaken as taken:
                log.warning(
                    "runner.name_taken", name=self.registration_request.name, ours=self._unknown
                )
                self.registration_request = replace(
                    self.registration_request,
                    name=renamed(self.registration_request.name),
                    unique=True,
                )
                self._unknown = False
                last = taken
            else:
                self.complete, self._unknown = True, False
                self._root.keep_copies()
                log.info(
                    "runner.registered",
                    name=self.registration_request.name,
                    url=self.registration_request.url,
                )
                return
        raise last

    async def _configure_patiently(self, finished: Finished | None) -> None:
        async for attempt in stamina.retry_context(
            on=growing(Trouble, first=2.0, longest=15.0), attempts=ATTEMPTS, timeout=None
        ):
            with attempt:
                await self._configure_once(finished)

    async def _configure_once(self, finished: Finished | None = None) -> None:
        replaces = self._added
        verb = Verb(
            "configure",
            self.registration_request.arguments(replaces=replaces),
            self.registration_request.token,
        )
        self._root.memory.begin(self.registration_request.name, unique=self.unique)
        result = Ran()
        try:
            await ran(
                self._root,
                verb,
                self._env,
                result,
                timeout=CONFIGURE_TIMEOUT,
                finished=finished,
            )
        finally:
            # Cut between its call and GitHub's answer, it may be there without a word of it; so
            # it may if the answer was lost on its way.
            lost = result.code != 0 and result.says(REACHED) and not result.says(TAKEN, *FINAL)
            self._added |= result.says(*ADDED) or (lost and self.registration_request.unique)
            self._unknown = (self._unknown or lost) and not self._added
        # What it writes last is written: it may have hung, or crashed, on its way out.
        if result.code == 0 or self._root.configured:
            return
        reason = (
            result.reason if result.code is not None else f"no end after {CONFIGURE_TIMEOUT:g} s"
        )
        if result.says(TAKEN) and not replaces:
            raise NameTaken(
                f"cannot register the runner: the name {self.registration_request.name} is taken (SIDECAR_NAME)"
            )
        if any(OUTDATED.search(line) for line in result.lines):
            raise Deprecated(
                f"cannot register the runner at {self.registration_request.url}: {reason} "
                "(build the image anew with the newest actions/runner)"
            )
        if result.says(*FINAL):
            raise RegistrationError(
                f"cannot register the runner at {self.registration_request.url}: {reason} "
                "(is the token younger than an hour, and for this SIDECAR_GITHUB_URL?)"
            )
        raise Trouble(f"cannot register the runner at {self.registration_request.url}: {reason}")

    def maybe_there(self, *, complete: bool) -> None:
        """Take over what another agent began: `complete` if there are copies of its files."""
        self.complete = complete
        self._added = not complete and self.registration_request.unique
        self._unknown = not complete and not self.registration_request.unique

    # -- and gone ------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether GitHub may know the runner."""
        return self.complete or self._added or self._unknown or self._root.configured

    @property
    def name(self) -> str:
        """The name that it has, or was last tried under."""
        return self.registration_request.name

    @property
    def unique(self) -> bool:
        """Whether a runner of that name can only be ours."""
        return self.registration_request.unique or self._added

    @property
    def runner_id(self) -> int | None:
        """GitHub's number for it, as configure wrote it down."""
        return self._root.runner_id if self.complete else None

    async def remove(self) -> None:
        """Run the program's own `remove`. Raises Busy, Trouble or RegistrationError."""
        if self._unknown and not self._root.configured:
            raise RegistrationError(
                f"cannot tell whether {self.name} is registered: its answer was lost, and a runner "
                "of that name may be another's (SIDECAR_NAME)"
            )
        if not self._root.configured and not self.complete:
            # It is at GitHub, but its keys were never saved: take it over, then remove it.
            await self._configure_once()
        if self.complete:
            self._root.put_back_copies()
        result = Ran()
        verb = Verb("remove", ("--unattended",), self.registration_request.token)
        await ran(self._root, verb, self._env, result, timeout=REMOVE_TIMEOUT)
        if result.says("still running a job"):
            raise Busy(f"cannot deregister {self.name}: it is still running a job")
        if result.code != 0 or result.says(MISSING):
            kind = RegistrationError if result.says(*FINAL, MISSING) else Trouble
            raise kind(f"cannot deregister {self.name}: {result.reason}")


def renamed(name: str) -> str:
    """Return `name` with a new random suffix, within the length that GitHub accepts."""
    suffix = "-" + secrets.token_hex(3)
    return name[: NAME_LENGTH - len(suffix)] + suffix
