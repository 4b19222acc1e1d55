"""The launcher's programs that only these storms run: sweep, `start`, `stop`, API, warm runners."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher import start as starting
from launcher.api.answers import Refused
from launcher.api.native import make_demand
from launcher.api.orders import Orders
from launcher.demand.order import Order
from launcher.interruption import Interruption
from launcher.journal import MemoryJournal
from launcher.launch import Stages
from launcher.places.ec2 import Ec2
from launcher.places.ec2_request import Machine
from launcher.places.ecs import Ecs
from launcher.places.request import Destination
from launcher.pools.document import Problems, parse_pools
from launcher.sweep.around import Limits
from launcher.sweep.claims import Claims
from launcher.sweep.marks import MemoryMarks
from launcher.sweep.repairs.deliveries import Deliveries
from launcher.sweep.repairs.jobs import LostJobs
from launcher.sweep.sweeper import Sweeper
from launcher.sweep.telling import log_report
from launcher.tokens import TokenMaker, TokenStore
from launcher.warm import WarmRunners
from launcher.work import Resources, Worker
from launcher.work.ending import WAITS
from sidecar.errors import SidecarError
from tests.storms import launching, sweeping
from tests.storms.calls import loop_time
from tests.storms.launching import DEPLOYMENT, NAME_PREFIX, PREFIX, REGION
from tests.storms.plan import APP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.pools.pool import Pools
    from tests.storms.swept.plan import Start
    from tests.storms.swept.world import SweptWorld
    from tests.storms.table import Item

CLAIMS = Claims(DEPLOYMENT, NAME_PREFIX, PREFIX)
CLUSTER = "runners"
"""Of the tasks that `start` starts; those of pools are in the cluster "default"."""
EVERY, PAUSE = 300.0, 60.0
"""Seconds between two sweeps (`--every 5m`), and between two looks at one thing, at least."""
BOOT, LIFE = 900.0, 3600.0
"""The limits of what no pool knows: longer than `start` waits for its runners."""
TENDED = 60.0
"""Seconds between two looks of the API at its orders."""
POOLS = """
[[pool]]
name = "small"
labels = ["small"]
task_definition = "runner:{revision}"
capacities = ["FARGATE_SPOT", "FARGATE"]
subnets = ["subnet-11111111", "subnet-22222222"]
maximum = {maximum}
life_limit = "1h"
[pool.access]
repositories = ["octo/app", "octo/lib"]

[[pool]]
name = "large"
labels = ["large"]
launch_template = "runner"
place = "ec2"
capacities = ["spot", "on-demand"]
instance_types = ["c7i.large", "m7i.large"]
subnets = ["subnet-11111111", "subnet-22222222"]
maximum = {maximum}
life_limit = "1h"
token = "registration"

[[pool]]
name = "warm"
labels = ["warm"]
task_definition = "runner:{revision}"
launch_type = "FARGATE"
subnets = ["subnet-11111111"]
maximum = {maximum}
min = {warm}
life_limit = "1h"
"""
_pools: dict[tuple[int, ...], Pools] = {}


def make_pools(world: SweptWorld) -> Pools:
    """Make the pools of now: warm runners are wanted until all is calm."""
    warm = world.plan.warm if loop_time() < world.plan.calm else 0
    key = world.revision, world.plan.maximum, warm
    if key not in _pools:
        text = POOLS.format(revision=key[0], maximum=key[1], warm=key[2])
        found = parse_pools(text)
        assert not isinstance(found, Problems), found
        _pools[key] = found
    return _pools[key]


def work(world: SweptWorld, name: str) -> Any:
    """Be a worker that keeps runners warm, too."""

    def make(resources: Resources) -> Worker:
        return Worker(resources, WarmRunners(resources, lambda _: APP).keep)

    return launching.work(world, name, make=make, pools=lambda: make_pools(world))


async def sweep(world: SweptWorld) -> None:
    """Be `runner-launcher sweep --every 5m`."""
    async with sweeping.open_around(
        CLAIMS,
        clusters=(CLUSTER,),
        scopes=(f"https://github.com/{APP}",),
        machines=True,
        pools=lambda: make_pools(world),
        limits=Limits(BOOT, LIFE),
    ) as around:
        assert around.records is not None
        marks = around.records.sweeps if world.plan.in_table else MemoryMarks()
        deliveries = Deliveries(around, None)
        repairs = (deliveries, LostJobs(around, deliveries))
        sweeper = Sweeper(around, marks, PAUSE, repairs)
        while True:
            begun = loop_time()
            try:
                report = await sweeper.sweep()
            except SidecarError as error:
                world.weather.note(f"the sweep fails: {error}")
            else:
                if report is not None:
                    log_report(report, loop_time() - begun, dry_run=False)
            world.swept()
            await asyncio.sleep(max(0.0, EVERY - (loop_time() - begun)))


# ---- on the command line -------------------------------------------------------------------------


@asynccontextmanager
async def _open_stages(start: Start) -> AsyncIterator[Stages]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        connection = await enter(launching.connect(APP))
        labels = ("self-hosted", start.label)
        maker = TokenMaker(connection, labels, group=None, just_in_time=start.just_in_time)
        yield Stages(
            await enter(Ec2(REGION) if start.is_machine else Ecs(CLUSTER, "runner", REGION)),
            _make_destination(start),
            await enter(TokenStore(PREFIX, REGION)),
            maker,
            connection,
            NAME_PREFIX,
            DEPLOYMENT,
            MemoryJournal(),
        )


def _make_destination(start: Start) -> Destination | Machine:
    if start.is_machine:
        return Machine("runner", capacities=("spot", "on-demand"))
    parameter = ("SIDECAR_TOKEN_PARAMETER", f"{PREFIX}/{{task}}")
    return Destination(
        CLUSTER, "runner:1", capacity_providers=("FARGATE",), environment=(parameter,)
    )


async def start_runners(start: Start, key: str, *, again: bool) -> None:
    """Be `runner-launcher start`."""
    order = _make_order(start, key, again=again)
    async with _open_stages(start) as stages:
        await starting.start(order, stages, Interruption())


async def stop_runners(start: Start, key: str) -> None:
    """Be `runner-launcher stop`."""
    async with _open_stages(start) as stages:
        await starting.stop(_make_order(start, key, again=True), stages)


def _make_order(start: Start, key: str, *, again: bool) -> starting.Order:
    url = f"https://github.com/{APP}"
    return starting.Order(DEPLOYMENT, url, key, start.count, start.wait, 600.0, repeated=again)


# ---- the API -------------------------------------------------------------------------------------


class Api:
    """The program that takes orders; its accounts are its own alone."""

    def __init__(self, resources: Resources) -> None:
        accounts: Any = None  # no order here names another account
        self._orders = Orders(resources, accounts)

    async def take(self, number: int) -> bool:
        """Take an order; False where its caller has to ask again."""
        order = Order("caller", 10)
        demand = make_demand(order, APP, 7, ("self-hosted", "small"), 70_000 + number)
        id_ = identity.launch_id(DEPLOYMENT, "api", str(number))
        try:
            await self._orders.start(id_, "small", demand)
        except (Refused, SidecarError):
            return False
        return True

    async def tend(self) -> None:
        """Look after what was ordered, again and again."""
        while True:
            await asyncio.sleep(TENDED)
            try:
                await self._orders.tend()
            except SidecarError:
                continue


async def serve(world: SweptWorld, name: str) -> None:
    """Be the API."""
    async with AsyncExitStack() as stack:
        resources = await launching.open_resources(
            world, name, stack, pools=lambda: make_pools(world)
        )
        api = Api(resources)
        world.api = api
        await api.tend()


# ---- what a storm reads of the table -------------------------------------------------------------


def has_ended(items: dict[str, Item], job: int) -> bool:
    """Say whether a job's launch has ended, and not because the job waits for an approval."""
    return any(
        item.get("ended", {"BOOL": False})["BOOL"]
        and item.get("given_up", {}).get("S") != WAITS
        and f'"job_id":{job},' in item.get("demand", {}).get("S", "").replace(" ", "")
        for key, item in items.items()
        if key.startswith("launch#")
    )
