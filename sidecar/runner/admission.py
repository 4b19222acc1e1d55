"""Admit the runner's one job, or refuse it, and give it its role, before any of its steps.

The started hook asks, and does not go on without the answer. The relay serves no role until then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sidecar import host
from sidecar.runner.job_identity import SENT, JobIdentity, read_identity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.job_policy import JobPolicy

    AssignRole = Callable[[JobIdentity | None, Mapping[str, str], float], Awaitable["Assignment"]]
    """Gives a job its role: by its identity, the variables of its hook, and the moment, in loop
    time, at which the hook must have its answer."""

log = structlog.get_logger()

READ_TIMEOUT = 5.0
"""Seconds that the event file may take: less than the hook waits."""
ANSWER_TIMEOUT = 8.5
"""Seconds that all of it may take: less than the hook waits, which has to start a program."""
LONGEST_REASON = 300


class Assignment(NamedTuple):
    """The outcome of giving a job its role."""

    refusal: str | None = None
    """Why the job must not run without it; None: it runs."""
    notice: str | None = None
    """What the job's log says, where it runs without."""


class Admission:
    """Decides whether the runner's one job may run, and has its role given to it.

    Without `policy` every job may run; without `assign_role` the role is not the job's own.
    `names` are the variables that the hook sends. `on_decided` is called with the reason of a
    refusal, or None, before the hook gets the answer.
    """

    def __init__(
        self,
        policy: JobPolicy | None,
        folder: RunnerFolder,
        on_decided: Callable[[str | None], None],
        assign_role: AssignRole | None = None,
        *,
        names: tuple[str, ...] = SENT,
        needs_answer: bool = True,
    ) -> None:
        self.names = names
        self.needs_answer = needs_answer
        """Whether the job must not run where the agent does not answer."""
        self.identity: JobIdentity | None = None
        """Who the job is; None until it has asked, or if that could not be read."""
        self._policy = policy
        self._folder = folder
        self._on_decided = on_decided
        self._assign_role = assign_role

    async def decide(self, variables: Mapping[str, str] | None) -> str:
        """Decide about the job that these variables of its started hook describe.

        Returns the answer for the hook: `host.ADMITTED`, with `host.NOTICE` also a warning for the
        job's log, or the reason of the refusal.
        """
        notice = None
        deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
        try:
            refusal = await self._judge(variables)
            if refusal is None and self._assign_role is not None:
                refusal, notice = await self._assign_role(self.identity, variables or {}, deadline)
            self._log(refusal)
        except Exception:
            refusal = "a mistake in the agent"
            log.exception("job.refused", reason=refusal)
        self._on_decided(refusal)
        if refusal is None:
            return host.ADMITTED if notice is None else host.NOTICE + _escape(notice)
        return f"this runner may not run the job: {_escape(refusal)}"

    async def _judge(self, variables: Mapping[str, str] | None) -> str | None:
        unknown: str | None = "what the runner says about the job is too long"
        if variables is not None:
            unknown = None
            reading = asyncio.to_thread(read_identity, variables, self._folder.work_folder)
            try:
                self.identity = await asyncio.wait_for(reading, READ_TIMEOUT)
            except TimeoutError:
                unknown = f"its event could not be read within {READ_TIMEOUT:g} s"
        if self._policy is None:
            return None
        return unknown if self.identity is None else self._policy.refusal(self.identity)

    def _log(self, refusal: str | None) -> None:
        facts = self.identity.to_facts() if self.identity is not None else {}
        if refusal is None:
            log.info("job.admitted", **facts)
        else:
            log.warning("job.refused", reason=_make_line(refusal), **facts)


def _escape(text: str) -> str:
    """Return one line; the runner reads it for commands, in which "%" begins another character."""
    return _make_line(text).replace("%", "%25")


def _make_line(text: str) -> str:
    """Return printable text of one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_REASON])
