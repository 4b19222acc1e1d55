"""Keep one record for each launch in DynamoDB, and count what a pool has started.

A launch is recognised before it is made: whatever comes twice finds its record. Every write has a
condition on the record's version, so of two workers that change it one gets `Outdated`. A *lease*
says who carries a launch on; a worker that dies leaves a lease that ends, and the next one adopts
the launch with all that was written down.

An unknown outcome (the answer was lost) is settled here: each write has an id of its own, and a
refused write that finds its own id in the record has succeeded before.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aiobotocore.config import AioConfig

from launcher.record.counters import PLACES, counter_key, give_place, take_place
from launcher.record.items import (
    LAUNCH,
    index_task,
    launch_key,
    read_launch,
    task_key,
    update_launch,
)
from launcher.record.ledger import Ledger, read_ledger
from launcher.record.paces import Paces
from launcher.record.pool_state import PoolStates
from launcher.record.rerun_state import RerunStates
from launcher.record.runs import Runs
from launcher.record.shown_tokens import ShownTokens
from launcher.record.sweep_state import SweepState
from launcher.record.table import KEY, Full, Outdated, Table
from launcher.record.used_tokens import UsedTokens
from sidecar.aws.calls import DYNAMODB
from sidecar.aws.session import CONFIG, ServiceClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiobotocore.session import AioSession

    from launcher.record.launch import Launch

KEPT: Final = 3 * 86_400
"""Seconds that a record outlives its last write. GitHub keeps a job queued for one day."""
OPEN_ORDERS: Final = {KEY: {"S": "open-orders"}}
"""One item for all of them: whoever looks after them finds them by it."""
ORDERS: Final = "orders"


class TableClient(ServiceClient):
    """A client of the table, for many launches at once.

    Whoever waits for a connection does so within the call's own deadline.
    """

    config = CONFIG.merge(AioConfig(max_pool_connections=50))


class Records:
    """The records and counters of one table. Every call raises AwsError, in one of its kinds.

    `worker` names this process in a lease; `lease` is how many seconds a launch is held from each
    write on. `now` is the time in seconds since 1970, and `new_id` makes ids that never repeat.
    """

    def __init__(
        self,
        client: ServiceClient,
        table: str,
        worker: str,
        *,
        lease: float = 60.0,
        timeout: float = 15.0,
        now: Callable[[], float],
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._calls = Table(client, table, timeout)
        self._table = table
        self._worker = worker
        self._lease = lease
        self._now = now
        self._new_id = new_id
        self.pools = PoolStates(self._calls, now)
        self.paces = Paces(self._calls, now)
        self.runs = Runs(self._calls, now)
        self.shown_tokens = ShownTokens(self._calls)
        self.used_tokens = UsedTokens(self._calls, now)
        self.reruns = RerunStates(self._calls, now)
        self.sweeps = SweepState(self._calls, now)

    async def read(self, launch_id: str) -> Launch | None:
        """Read a record as it is now; None where there is none."""
        item = await self._calls.read(launch_key(launch_id))
        return read_launch(item) if item else None

    async def read_all(self) -> Ledger:
        """Read all records: it costs as much as the table is large."""
        return await read_ledger(self._calls, KEPT)

    async def claim(self, launch: Launch) -> Launch | None:
        """Create the record, or adopt the stored one; None where somebody else holds its lease.

        What comes back is what the table has, also where it differs from what was given. A claim
        is exclusive within a process too: two messages for one job get one lease.
        """
        if launch.version and self.is_held(launch):
            return None
        try:
            return await self._save(self._leased(launch))
        except Outdated:
            stored = await self.read(launch.id)
        if stored is None or self.is_held(stored):  # None: it ended its time to live just now
            return None
        try:
            return await self._save(self._leased(stored))
        except Outdated:
            return None

    def is_held(self, launch: Launch) -> bool:
        """Say whether somebody carries the launch on, as far as the lease tells."""
        return launch.lease_holder is not None and launch.lease_until > self._now()

    async def save(self, launch: Launch) -> Launch:
        """Write what a holder changed, and hold the lease for longer. Raises Outdated."""
        return await self._save(replace(launch, lease_until=self._now() + self._lease))

    async def release(self, launch: Launch) -> Launch:
        """Write what a holder changed, and end the lease: the next worker need not wait."""
        return await self._save(replace(launch, lease_holder=None, lease_until=0.0))

    async def index(self, task: str, launch_id: str) -> None:
        """Write down whose task it is: events of ECS and GitHub tell the task, not the launch."""

        async def write(client: Any) -> None:
            await client.update_item(**self._index(task, launch_id))

        await self._calls.write("write", write)

    def _index(self, task: str, launch_id: str) -> dict[str, Any]:
        return index_task(self._table, task, launch_id, self._now() + KEPT)

    async def save_together(self, launches: list[Launch], tasks: Mapping[str, str]) -> list[Launch]:
        """Write several launches, and whose the tasks are: all or nothing. Raises Outdated."""
        until = self._now() + self._lease
        written = [
            replace(each, version=each.version + 1, write=self._new_id(), lease_until=until)
            for each in launches
        ]
        steps = [
            {"Update": update_launch(self._table, each, self._now() + KEPT)} for each in written
        ]
        steps += [{"Update": self._index(task, launch_id)} for task, launch_id in tasks.items()]

        async def write(client: Any) -> None:
            await client.transact_write_items(TransactItems=steps)

        try:
            await self._calls.write("write", write)
        except Outdated:
            stored = await self.read(written[0].id)
            if stored is None or stored.write != written[0].write:
                raise
        return written

    async def find(self, task: str) -> str | None:
        """Find the id of the launch that a task, by its id, belongs to."""
        item = await self._calls.read(task_key(task))
        return str(item[LAUNCH]["S"]) if item and LAUNCH in item else None

    async def take_places(self, launch: Launch, limits: Mapping[str, int]) -> Launch:
        """Count the launch in each counter of `limits`, all or none. Raises Full, Outdated.

        `limits` holds the maximum of each counter by name, such as that of a pool. A launch that
        is counted already is counted once.
        """
        wanted = {name: most for name, most in limits.items() if name not in launch.counters}
        if not wanted:
            return launch
        counted = replace(
            launch,
            counters=(*launch.counters, *wanted),
            lease_until=self._now() + self._lease,
        )
        steps = [take_place(self._table, name, most) for name, most in wanted.items()]
        return await self._save(counted, steps, wanted)

    async def give_places(self, launch: Launch) -> Launch:
        """Take the launch out of all its counters. Raises Outdated."""
        if not launch.counters:
            return launch
        names = list(launch.counters)
        while True:
            steps = [give_place(self._table, name) for name in names]
            try:
                return await self._save(
                    replace(launch, counters=()), steps, dict.fromkeys(names, 0)
                )
            except Full as error:  # somebody has emptied it: nothing is left to give
                names.remove(error.counter)

    async def count(self, counter: str) -> int:
        """Read how many launches take a place in a counter: starts under way and living."""
        item = await self._calls.read(counter_key(counter))
        return int(item[PLACES]["N"]) if item and PLACES in item else 0

    async def open_order(self, launch_id: str) -> None:
        """Note an order that no event tells of, until its launch is closed. Raises AwsError."""
        await self._change_open("ADD", launch_id)

    async def close_order(self, launch_id: str) -> None:
        """Take an order out of the open ones, if it is there. Raises AwsError."""
        await self._change_open("DELETE", launch_id)

    async def list_open_orders(self) -> list[str]:
        """Return the launches of the open orders, by their ids. Raises AwsError."""
        item = await self._calls.read(OPEN_ORDERS)
        return sorted(item.get(ORDERS, {}).get("SS", [])) if item else []

    async def _change_open(self, verb: str, launch_id: str) -> None:
        async def write(client: Any) -> None:
            await client.update_item(
                TableName=self._table,
                Key=OPEN_ORDERS,
                UpdateExpression=f"{verb} #orders :orders",
                ExpressionAttributeNames={"#orders": ORDERS},
                ExpressionAttributeValues={":orders": {"SS": [launch_id]}},
            )

        await self._calls.write("write", write)

    def _leased(self, launch: Launch) -> Launch:
        holder = f"{self._worker}/{self._new_id()}"
        return replace(launch, lease_holder=holder, lease_until=self._now() + self._lease)

    async def _save(
        self,
        launch: Launch,
        steps: list[dict[str, Any]] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> Launch:
        """Write the next version, with `steps` in the same transaction.

        Raises Outdated where the table has another version than the launch, and Full where a
        counter's condition fails.
        """
        written = replace(launch, version=launch.version + 1, write=self._new_id())
        update = update_launch(self._table, written, self._now() + KEPT)

        async def write(client: Any) -> None:
            if steps is None:
                await client.update_item(**update)
            else:
                await client.transact_write_items(TransactItems=[{"Update": update}, *steps])

        try:
            await self._calls.write("write", write, limits)
        except Outdated:
            stored = await self.read(written.id)
            if stored is None or stored.write != written.write:
                raise
        return written


def make_client(
    region: str | None, make_session: Callable[[], AioSession] | None = None
) -> ServiceClient:
    """Make the client that `Records` needs; enter it, and it closes on leaving."""
    return TableClient(DYNAMODB, region, make_session)
