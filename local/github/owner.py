"""Play the owner of a webhook, who has GitHub send again what a receiver could not take in time.

GitHub does not do that by itself. A launcher's owner does, or its sweep.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local.github.webhooks import Delivery
    from local.github.world import World

FIRST_PAUSE = 1.0
"""Seconds until a delivery is sent again; they double each time.

A webhook whose queue answers late says that it failed, and its message is there all the same: what
is sent again without patience fills the queue of a slow machine.
"""
LATE = (503, 504)
"""The statuses of a delivery that a busy machine has not taken, or has not answered, in time."""


async def send_again(world: World) -> None:
    """Send again what was not taken in time, until cancelled."""
    hooks, done = world.hooks, set[int]()
    pauses: dict[str, float] = {}

    def look() -> list[Delivery] | None:
        late = [each for each in hooks.deliveries if each.status_code in LATE]
        return [each for each in late if each.id not in done] or None

    async def redeliver(delivery: Delivery, pause: float) -> None:
        await asyncio.sleep(pause)
        hooks.redeliver(delivery)

    async with asyncio.TaskGroup() as sending:
        while not world.changes.closed:
            for each in await world.changes.until(look, 3600) or ():
                done.add(each.id)
                pause = pauses[each.guid] = 2 * pauses.get(each.guid, FIRST_PAUSE / 2)
                sending.create_task(redeliver(each, pause))
