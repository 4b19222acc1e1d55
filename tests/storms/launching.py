"""The launcher's own programs, as a storm's processes run them; only this file names its parts."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.demand.queue import Queue, process
from launcher.demand.webhook import Webhook as Intake
from launcher.places.ec2 import Ec2
from launcher.pools.document import Problems, parse_pools
from launcher.record.counters import PLACES
from launcher.record.records import Records
from launcher.record.records import make_client as make_table_client
from launcher.tokens import TokenStore
from launcher.work import EcsClients, Rates, Resources, Worker
from sidecar import github
from tests.storms.clock import now
from tests.storms.hooks import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.demand.delivery import Demand
    from launcher.pools.pool import Pools
    from tests.storms.ecs import Task
    from tests.storms.machines import Machine
    from tests.storms.table import Item
    from tests.storms.world import World

PREFIX = "/runners"
DEPLOYMENT, NAME_PREFIX = "storm", "storm-"
QUEUE_URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/launches"
REGION = "eu-central-1"
RATES = Rates()
BESIDE = 20
"""Messages that one worker handles at the same time."""
TASKS = {
    "small": """
[[pool]]
name = "small"
labels = ["small"]
task_definition = "runner:{revision}"
capacities = ["FARGATE_SPOT", "FARGATE"]
subnets = ["subnet-11111111", "subnet-22222222"]
maximum = {maximum}
[pool.access]
events = ["push", "schedule"]
""",
    "large": """
[[pool]]
name = "large"
labels = ["large"]
task_definition = "runner:{revision}"
launch_type = "FARGATE"
subnets = ["subnet-11111111"]
maximum = {maximum}
token = "registration"
""",
}
MACHINE = """
[[pool]]
name = "{name}"
place = "ec2"
labels = ["{name}"]
launch_template = "runner"
launch_template_version = "{revision}"
capacities = ["spot", "on-demand"]
instance_types = ["c7i.large", "m7i.large"]
subnets = ["subnet-11111111", "subnet-22222222"]
maximum = {maximum}
life_limit = "1h"
"""
MACHINES = {
    # By RunInstances, one type and subnet after the other.
    "small": f"""{MACHINE}
[pool.access]
events = ["push", "schedule"]
""",
    # By CreateFleet.
    "large": f"""{MACHINE}
user_data = "template"
token = "registration"
""",
}
_pools: dict[tuple[object, ...], Pools] = {}


def make_pools(revision: int, maximum: int, of_machines: tuple[str, ...] = ()) -> Pools:
    """Make the pools of a revision; those that are named have machines."""
    key = revision, maximum, of_machines
    if key not in _pools:
        texts = [MACHINES[name] if name in of_machines else TASKS[name] for name in TASKS]
        given = {"revision": revision, "maximum": maximum}
        found = parse_pools(
            "".join(
                text.format(**given, name=name) for name, text in zip(TASKS, texts, strict=True)
            )
        )
        assert not isinstance(found, Problems), found
        _pools[key] = found
    return _pools[key]


class Webhook:
    """The program that takes webhooks."""

    def __init__(self, world: World) -> None:
        del world
        queue = Queue(QUEUE_URL, REGION)
        self._intake = Intake([SECRET], lambda demand: queue.send(demand.to_json()))

    async def take(self, headers: dict[str, str], body: bytes) -> int:
        """Take a delivery; return the status of its answer."""
        return (await self._intake.take(headers, body)).status


class Connections:
    """A connection for each repository."""

    def __init__(self) -> None:
        self._known: dict[str, github.Connection] = {}

    def for_demand(self, demand: Demand) -> github.Connection:
        """Return the connection for a job's runner."""
        if demand.repository not in self._known:
            self._known[demand.repository] = connect(demand.repository)
        return self._known[demand.repository]


def connect(repository: str) -> github.Connection:
    """Make the connection to a repository."""
    connection = github.Connection(_credential)
    connection.url = f"https://github.com/{repository}"
    return connection


async def _credential() -> github.Credential:
    return github.Pat("CANARY-pat")


async def work(
    world: World,
    name: str,
    rates: Rates = RATES,
    beside: int = BESIDE,
    make: Callable[[Resources], Worker] = Worker,
    **other: Any,
) -> None:
    """Be a worker; `other` are other resources than those of most storms."""
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(Queue(QUEUE_URL, REGION))
        resources = await open_resources(world, name, stack, rates=rates, **other)
        await _receive(world, queue, make(resources), beside)


async def open_resources(world: World, name: str, stack: AsyncExitStack, **other: Any) -> Resources:
    """Open what starts tasks and machines from pools."""
    enter = stack.enter_async_context
    given: dict[str, Any] = {
        "records": Records(await enter(make_table_client(REGION)), "launches", name, now=now),
        "store": await enter(TokenStore(PREFIX, REGION)),
        "ecs": await enter(EcsClients(REGION)),
        "ec2": await enter(Ec2(REGION)),
        "pools": lambda: make_pools(world.revision, world.plan.maximum, world.plan.machines.pools),
        "connections": Connections(),
        "deployment": DEPLOYMENT,
        "name_prefix": NAME_PREFIX,
        "parameter_prefix": PREFIX,
        "now": now,
        "chance": random.Random(world.chance.random()),  # noqa: S311  chance, not secrecy
    }
    return Resources(**given | other)


async def _receive(world: World, queue: Queue, worker: Worker, beside: int) -> None:
    """Handle messages as they come, some at the same time, as Lambda does."""
    room = asyncio.Semaphore(beside)

    async def handle(received: Any) -> None:
        async with room:
            await process(queue, received, worker)

    async with asyncio.TaskGroup() as group:
        while True:
            async with room:
                await world.sqs.wait_visible()
            try:
                found = await queue.receive(10, 0)
            except github.GitHubError:
                raise
            except Exception as error:  # noqa: BLE001  a worker outlives a bad minute
                world.weather.note(f"cannot receive: {error}")
                await asyncio.sleep(5)
                continue
            for each in found:
                group.create_task(handle(each))


# ---- what a storm reads of the launcher's own marks ----------------------------------------------


def launch_of(task: Task | Machine) -> str:
    """Return the launch that a task or a machine was started for."""
    return task.tags[identity.LAUNCH_TAG]


def find_living(items: dict[str, Item]) -> list[str]:
    """Find the launches in the table that still hold something."""
    return [
        key.removeprefix("launch#")
        for key, item in items.items()
        if key.startswith("launch#")
        and "place" in item
        and not item.get("ended", {"BOOL": False})["BOOL"]
    ]


def find_counters(items: dict[str, Item]) -> list[str]:
    """Find the counters that count something."""
    return [
        f"{key} = {item[PLACES]['N']}"
        for key, item in items.items()
        if PLACES in item and item[PLACES]["N"] != "0"
    ]
