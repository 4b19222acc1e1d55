"""Put a worker together from its settings: queue, table, pools, GitHub, ECS and tokens.

The service and the Lambda function use the same.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.connections import Connections
from launcher.demand.queue import Queue
from launcher.places.ec2 import Ec2
from launcher.pools.families import FamilySource
from launcher.pools.source import FileSource, LivePools, ParameterSource
from launcher.record.records import Records, make_client
from launcher.secret import Secret
from launcher.tokens import TokenStore
from launcher.warm import WarmRunners
from launcher.work import EcsClients, Maxima, Resources, Worker
from sidecar import github

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.pools.source import Source
    from launcher.settings import DoctorSettings, RecordSettings, ServedSettings, WorkSettings


@dataclass(frozen=True, slots=True)
class Parts:
    """A worker, and what it needs to be fed with."""

    queue: Queue
    worker: Worker
    pools: LivePools


@asynccontextmanager
async def open_worker(settings: WorkSettings, region: str | None) -> AsyncIterator[Parts]:
    """Open a worker whose pools are loaded. Raises SidecarError or LaunchError.

    Nothing but the pools is asked for yet.
    """
    async with AsyncExitStack() as stack:
        resources, pools, connections = await open_resources(settings, region, stack)
        warm = WarmRunners(resources, connections.find_home)
        queue = await stack.enter_async_context(Queue(settings.queue_url, region))
        await pools.load()
        yield Parts(queue, Worker(resources, warm.keep), pools)


async def open_resources(
    settings: RecordSettings, region: str | None, stack: AsyncExitStack
) -> tuple[Resources, LivePools, Connections]:
    """Open what starts tasks from pools, which are not loaded yet; `stack` closes it."""
    enter = stack.enter_async_context
    pools = LivePools(await open_source(settings.pools, make_common(settings), region, stack))
    connections = await enter(make_connections(settings, region))
    resources = Resources(
        Records(
            await enter(make_client(region)),
            settings.table,
            f"{socket.gethostname()}/{os.getpid()}",
            now=time.time,
        ),
        pools,
        connections,
        await enter(EcsClients(region)),
        await enter(TokenStore(settings.parameter_prefix, region)),
        settings.deployment,
        settings.name_prefix,
        settings.parameter_prefix,
        Maxima(settings.repository_maximum, settings.maximum),
        ec2=await enter(Ec2(region)),
    )
    return resources, pools, connections


def make_connections(settings: ServedSettings, region: str | None) -> Connections:
    """Make the connections to GitHub."""
    if settings.github_pat is not None:
        token = Secret(settings.github_pat.get_secret_value(), "LAUNCHER_GITHUB_PAT", region)
        return Connections(settings.github_url, settings.scope, token=token)
    setting = "LAUNCHER_GITHUB_APP_KEY"
    apps = [
        (app_id, Secret(key, setting, region, is_meant=github.is_app_key))
        for app_id, key in settings.apps
    ]
    return Connections(settings.github_url, settings.scope, apps=apps)


async def open_source(
    text: str, common: dict[str, Any], region: str | None, stack: AsyncExitStack
) -> Source:
    """Open the source of the pools that a setting names; `stack` closes it.

    `common` is what all pools have that are task definitions.
    """
    kind, colon, name = text.partition(":")
    if colon and kind == "ssm":
        return await stack.enter_async_context(ParameterSource(name.split("+"), region))
    if colon and kind == "families":
        return await stack.enter_async_context(FamilySource(name, common, region))
    return FileSource(text)


def make_common(settings: RecordSettings | DoctorSettings) -> dict[str, Any]:
    """Make what all pools have that are task definitions."""
    common: dict[str, Any] = {
        "cluster": settings.cluster,
        "container": settings.container,
        "capacities": list(settings.capacity_providers),
        "launch_type": settings.launch_type,
        "subnets": list(settings.subnets),
        "security_groups": list(settings.security_groups),
        "public_ip": settings.public_ip,
    }
    return {key: value for key, value in common.items() if value is not None}
