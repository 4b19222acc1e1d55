"""Admit the runner's one job, or refuse it, before any of its steps.

The started hook asks, and does not go on without the answer. The relay serves no role until then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.runner.job_identity import SENT, JobIdentity, read_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.job_policy import JobPolicy

log = structlog.get_logger()

READ_TIMEOUT = 5.0
"""Seconds that the event file may take: less than the hook waits."""
LONGEST_REASON = 300


class Admission:
    """Decides by a policy whether the runner's one job may run.

    `names` are the variables that the hook sends. `on_decided` is called with the reason of a
    refusal, or None, before the hook gets the answer.
    """

    names = SENT

    def __init__(
        self, policy: JobPolicy, folder: RunnerFolder, on_decided: Callable[[str | None], None]
    ) -> None:
        self.identity: JobIdentity | None = None
        """Who the job is; None until it has asked, or if that could not be read."""
        self._policy = policy
        self._folder = folder
        self._on_decided = on_decided

    async def decide(self, variables: Mapping[str, str] | None) -> str:
        """Decide about the job that these variables of its started hook describe.

        Returns the answer for the hook: `host.ADMITTED`, or the reason of the refusal.
        """
        try:
            refusal = await self._judge(variables)
            self._log(refusal)
        except Exception:
            refusal = "a mistake in the agent"
            log.exception("job.refused", reason=refusal)
        self._on_decided(refusal)
        if refusal is None:
            return host.ADMITTED
        # The runner reads the line for commands, in which "%" stands for another character.
        return f"this runner may not run the job: {_make_line(refusal)}".replace("%", "%25")

    async def _judge(self, variables: Mapping[str, str] | None) -> str | None:
        if variables is None:
            return "what the runner says about the job is too long"
        reading = asyncio.to_thread(read_identity, variables, self._folder.work_folder)
        try:
            self.identity = await asyncio.wait_for(reading, READ_TIMEOUT)
        except TimeoutError:
            return f"its event could not be read within {READ_TIMEOUT:g} s"
        return self._policy.refusal(self.identity)

    def _log(self, refusal: str | None) -> None:
        facts = self.identity.to_facts() if self.identity is not None else {}
        if refusal is None:
            log.info("job.admitted", **facts)
        else:
            log.warning("job.refused", reason=_make_line(refusal), **facts)


def _make_line(text: str) -> str:
    """Return printable text of one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_REASON])
