"""Take webhook deliveries, and send what they demand to a queue, within a second.

`launcher.demand.server` stands over it. GitHub never sends a failed delivery again by itself;
whoever answers 503 here relies on the sweep to ask for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from launcher.demand.delivery import Answer, Demand, Refused, Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

log = structlog.get_logger()

ANSWER_WITHIN = 0.8
"""Seconds that the queue has; what is left of a second is for the rest."""
MOST_LATE = 1000
"""Sends that did not end in time and are still being cancelled."""


class Webhook:
    """Takes deliveries, and sends what they demand to a queue.

    `secrets` are all accepted, so that one can be replaced without a gap. `allowed` are owners or
    `owner/name`; an empty list allows all. `send` puts a demand into the queue.
    """

    def __init__(
        self,
        secrets: Iterable[str],
        send: Callable[[Demand], Awaitable[object]],
        *,
        allowed: Iterable[str] = (),
        within: float = ANSWER_WITHIN,
    ) -> None:
        self._verifier = Verifier(secrets, allowed)
        self._send = send
        self._within = within
        self._late: set[asyncio.Task[object]] = set()

    async def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one delivery. Header names are lower-case; `body` is what came, byte by byte."""
        try:
            demand = self.read(headers, body)
        except Refused as refused:
            return refused.answer
        return await self._pass_on(demand)

    def read(self, headers: Mapping[str, str], body: bytes) -> Demand:
        """Verify and translate a delivery. Raises Refused, which holds the answer."""
        return self._verifier.read(headers, body)

    def replace_secrets(self, secrets: Iterable[str]) -> None:
        """Accept these secrets from now on, and no others."""
        self._verifier.replace_secrets(secrets)

    async def _pass_on(self, demand: Demand) -> Answer:
        """Send it, and answer in time whether the queue answers or not."""
        if len(self._late) >= MOST_LATE:
            return Answer(503, "the queue does not answer")
        # Not asyncio.timeout: that would wait for a send that does not let itself be cancelled.
        sending: asyncio.Task[object] = asyncio.ensure_future(_call(self._send, demand))
        self._late.add(sending)
        sending.add_done_callback(self._forget)
        await asyncio.wait({sending}, timeout=self._within)
        if not sending.done():
            sending.cancel()
            log.error("webhook.failed", job=demand.job_id, reason="the queue does not answer")
            return Answer(503, "the queue does not answer")
        if sending.cancelled() or sending.exception():
            reason = "cancelled" if sending.cancelled() else str(sending.exception())
            log.error("webhook.failed", job=demand.job_id, reason=reason)
            return Answer(503, "the queue does not take it")
        return Answer(202, f"{demand.action}: job {demand.job_id}")

    def _forget(self, sending: asyncio.Task[object]) -> None:
        self._late.discard(sending)
        if not sending.cancelled():
            sending.exception()  # else asyncio would report it as never looked at


async def _call(send: Callable[[Demand], Awaitable[object]], demand: Demand) -> object:
    return await send(demand)
