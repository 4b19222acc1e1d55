"""Webhooks on their way: signed, lost, doubled, out of order, and sent again by an operator."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.storms.calls import loop_time
from tests.storms.clock import start_outside
from tests.storms.github import make_payload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.storms.calls import Weather
    from tests.storms.github import Job

    Take = Callable[[dict[str, str], bytes], Awaitable[int | None]]

SECRET = "a-secret-of-the-webhook"
PATIENCE = 10.0
"""Seconds that GitHub waits for an answer."""


@dataclass
class Delivery:
    """One delivery."""

    id: str
    headers: dict[str, str]
    body: bytes
    text: str
    at: float


@dataclass
class Hooks:
    """All webhooks of an instance; `take` gives a delivery to the launcher and tells the status."""

    weather: Weather
    take: Take
    hooks: int = 1
    """How many hooks send each event: a repository's and an organization's."""
    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    """Fractions of the deliveries."""
    failed: list[Delivery] = field(default_factory=list)
    _count: int = 0
    _sent: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def busy(self) -> bool:
        """Whether something is still on its way."""
        return bool(self._sent or self.failed)

    def deliver(self, action: str, job: Job) -> None:
        """Send the deliveries of an event."""
        chance = self.weather.chance
        calm = loop_time() >= self.weather.calm
        for _ in range(self.hooks):
            self._count += 1
            delivery = make_delivery(action, job, self._count)
            if not calm and chance.random() < self.lost:
                self.weather.note(f"delivery lost: {delivery.text}")
                self.failed.append(delivery)
                continue
            times = 2 if not calm and chance.random() < self.doubled else 1
            for _ in range(times):
                late = not calm and chance.random() < self.late
                self._start(delivery, chance.uniform(0.05, 90 if late else 1.0))

    def _start(self, delivery: Delivery, delay: float) -> None:
        sent = start_outside(self._send(delivery, delay))
        self._sent.add(sent)
        sent.add_done_callback(self._sent.discard)

    async def _send(self, delivery: Delivery, delay: float) -> None:
        await asyncio.sleep(delay)
        status = None
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self.take(delivery.headers, delivery.body)
        except TimeoutError:
            pass
        if status is None or status >= 300:
            self.weather.note(f"delivery failed with {status}: {delivery.text}")
            self.failed.append(delivery)

    async def operate(self, pause: float) -> None:
        """Send again what failed, as an operator does from GitHub's list of deliveries."""
        while True:
            await asyncio.sleep(pause)
            failed, self.failed = self.failed, []
            for delivery in failed:
                self.weather.note(f"delivery again: {delivery.text}")
                self._start(delivery, self.weather.chance.uniform(0, 2))


def make_delivery(action: str, job: Job, number: int) -> Delivery:
    """Make a signed delivery."""
    body = make_payload(action, job)
    name = f"{number:08d}-0000-4000-8000-000000000000"
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "x-github-event": "workflow_job",
        "x-github-delivery": name,
        "x-hub-signature-256": f"sha256={signature}",
        "content-type": "application/json",
    }
    return Delivery(name, headers, body, f"{action} of job {job.id}", loop_time())
