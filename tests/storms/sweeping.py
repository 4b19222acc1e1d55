"""The launcher's sweep among the models; this file and `launching` alone name its parts."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from launcher.connections import Connections
from launcher.demand.queue import Queue
from launcher.places.ec2 import Ec2
from launcher.record.records import Records, make_client
from launcher.secret import Secret
from launcher.sweep.around import Around
from launcher.sweep.hub import Hub
from launcher.sweep.pacing import Pace
from launcher.sweep.parameters import Parameters
from launcher.sweep_assembly import DELETES, LISTS, REMOVALS, REMOVALS_AT_ONCE
from launcher.work import EcsClients
from tests.storms import clock
from tests.storms.calls import loop_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.sweep.claims import Claims

REGION = "eu-central-1"
SERVER = "https://github.com"
TABLE = "launches"
QUEUE = "https://sqs.eu-central-1.amazonaws.com/123456789012/demand"


@asynccontextmanager
async def open_around(
    claims: Claims, *, table: bool = True, queue: bool = True, **given: Any
) -> AsyncIterator[Around]:
    """Open what a sweep works with, at the rates of the command."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        clients = await enter(EcsClients(REGION))
        lists, deletes = (Pace(rate, 1, loop_time) for rate in (LISTS, DELETES))
        token = Secret("a-token", "LAUNCHER_GITHUB_PAT", None, loop_time)
        connections = await enter(Connections(SERVER, "repository", token=token))
        client = await enter(make_client(REGION))
        yield Around(
            claims,
            await enter(Parameters(REGION, lists, deletes)),
            Hub(connections),
            lambda cluster: clients(cluster, "runner"),
            await enter(Ec2(REGION)),
            Pace(REMOVALS, REMOVALS_AT_ONCE, loop_time),
            SERVER,
            records=Records(client, TABLE, "sweep", now=clock.now) if table else None,
            queue=await enter(Queue(QUEUE, REGION)) if queue else None,
            now=clock.now,
            **given,
        )
