"""Put a sweep together from its settings. The command and the Lambda function use the same."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from launcher.assembly import make_connections, open_source
from launcher.demand.queue import Queue
from launcher.places.ec2 import Ec2
from launcher.pools.source import LivePools
from launcher.record.records import Records, make_client
from launcher.sweep.around import Around, Limits
from launcher.sweep.claims import Claims
from launcher.sweep.hub import Hub
from launcher.sweep.marks import MemoryMarks
from launcher.sweep.pacing import Pace
from launcher.sweep.parameters import Parameters
from launcher.sweep.repairs.deliveries import Deliveries
from launcher.sweep.repairs.jobs import LostJobs
from launcher.sweep.sweeper import Sweeper
from launcher.work import EcsClients

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.settings import SweepSettings

LISTS, DELETES = 4.5, 4.0
"""DescribeParameters and DeleteParameters per second. AWS permits an account five that delete, and
the agents of a fleet use one of them."""
REMOVALS, REMOVALS_AT_ONCE = 1.0, 20.0
"""Runners per second that are looked for or removed. GitHub grants 900 points a minute, of which a
removal costs five; two thirds are for just-in-time configurations."""
CONTAINER = "runner"


@dataclass(frozen=True, slots=True)
class SweepParts:
    """A sweeper, and the pools that it goes by."""

    sweeper: Sweeper
    pools: LivePools | None


@asynccontextmanager
async def open_sweep(settings: SweepSettings, region: str | None) -> AsyncIterator[SweepParts]:
    """Open a sweep whose pools are loaded. Raises SidecarError or LaunchError."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pools = await _open_pools(settings, region, stack)
        records = await _open_records(settings, region, stack)
        clients = await enter(EcsClients(region))
        parameters = Parameters(region, Pace(LISTS), Pace(DELETES))
        claims = _make_claims(settings)
        around = Around(
            claims,
            await enter(parameters),
            Hub(await enter(make_connections(settings, region))),
            lambda cluster: clients(cluster, CONTAINER),
            await enter(Ec2(region)),
            Pace(REMOVALS, REMOVALS_AT_ONCE),
            _find_server(settings),
            (*([settings.cluster] if settings.cluster else []), *settings.clusters),
            _find_scopes(settings),
            machines=settings.machines,
            pools=pools,
            records=records,
            queue=await enter(Queue(settings.queue_url, region)) if settings.queue_url else None,
            limits=Limits(settings.boot_limit, settings.life_limit),
        )
        marks = records.sweeps if records is not None and not settings.dry_run else MemoryMarks()
        deliveries = Deliveries(around, settings.webhook_url)
        repairs = (deliveries, LostJobs(around, deliveries))
        make = partial(Sweeper, around, marks, settings.pause, repairs)
        yield SweepParts(make(dry_run=settings.dry_run), pools)


def _make_claims(settings: SweepSettings) -> Claims:
    tags = [tag.partition("=") for tag in settings.others_tags]
    return Claims(
        settings.deployment,
        settings.name_prefix,
        settings.parameter_prefix,
        settings.others_paths,
        settings.others_names,
        tuple((key, value) for key, _, value in tags),
    )


async def _open_records(
    settings: SweepSettings, region: str | None, stack: AsyncExitStack
) -> Records | None:
    if settings.table is None:
        return None
    client = await stack.enter_async_context(make_client(region))
    return Records(client, settings.table, "sweep", now=time.time)


async def _open_pools(
    settings: SweepSettings, region: str | None, stack: AsyncExitStack
) -> LivePools | None:
    if settings.pools is None:
        return None
    common = {"cluster": settings.cluster or "default", "container": CONTAINER}
    pools = LivePools(await open_source(settings.pools, common, region, stack))
    await pools.load()
    return pools


def _find_server(settings: SweepSettings) -> str:
    parts = urlsplit(settings.github_url)
    return f"{parts.scheme}://{parts.netloc}"


def _find_scopes(settings: SweepSettings) -> tuple[str, ...]:
    """Return the one scope that the settings name, if they do."""
    has_path = bool(urlsplit(settings.github_url).path.strip("/"))
    return (settings.github_url,) if has_path else ()
