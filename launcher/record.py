"""Keep one record for each launch in DynamoDB, and count what a pool has started.

A launch is recognised before it is made: whatever comes twice finds its record. Every write has a
condition on the record's version, so of two workers that change it one is told that its copy is
outdated. A *lease* says who carries a launch on; a worker that dies leaves a lease that ends, and
the next one adopts the launch with all that was written down.

An unknown outcome (the answer was lost) is settled here: each write has an id of its own, and a
refused write that finds its own id in the record has succeeded before.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from launcher.paces import Paces
from launcher.pool_state import PoolStates
from launcher.runs import Runs
from launcher.table import EXPIRES, KEY, Full, Outdated, Table, make_number
from launcher.used_tokens import UsedTokens
from sidecar.aws.calls import DYNAMODB
from sidecar.aws.session import ServiceClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiobotocore.session import AioSession

__all__ = ["Full", "Launch", "Outdated", "Records", "make_client"]

PLACES, LAUNCH = "places", "launch"
KEPT = 3 * 86_400
"""Seconds that a record outlives its last write. GitHub keeps a job queued for one day."""
MOST_REASONS, LONGEST_REASON = 20, 300
LONGEST_TEXT = 64 * 1024
"""Characters of a request or a demand; an item of DynamoDB holds 400 KB."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch as it is written down. Its methods return what is to be written next."""

    id: str
    """A pure function of deployment, scope and key."""
    pool: str
    demand: str
    """What asked for it, in JSON."""
    first_seen: float
    order: str = ""
    """The id of what was asked for, where several launches belong to it."""
    may_exist: bool = False
    """Whether an earlier process may have begun it unrecorded: then what exists is looked for."""
    tries: int = 1
    """Raised when a launch that was placed ended without serving."""
    failures: int = 0
    """How many of the tries ended by a fault; a theft or an approval is none."""
    round: int = 1
    """Raised when all of the pool's capacities refused."""
    step: int = 0
    """Which of the pool's capacities is asked."""
    pace: str | None = None
    """The line in which it has a turn, while it waits to start its task."""
    turn: int = 0
    """Its place in that line."""
    due: float = 0.0
    """When its turn comes, as far as was known when it was put off."""
    request: str | None = None
    """What is sent to AWS in this step, exactly; stored before it is sent."""
    place: str | None = None
    """The task's ARN or the instance's id, once there is one."""
    placed_at: float = 0.0
    generation: int = 0
    """Of the runner's token; stored before it is minted."""
    announced_at: float = 0.0
    """When that generation was stored."""
    runner_name: str | None = None
    runner_id: int | None = None
    handed_over: bool = False
    """Whether this generation's token was written where the agent finds it."""
    keeps_token: bool = False
    """Whether its agent leaves the token's parameter to the launcher."""
    online: bool = False
    served: bool = False
    thefts: int = 0
    """How often another job took its runner."""
    given_up: str | None = None
    """Why nobody tries any more."""
    ended: bool = False
    """Whether all that it started is cleaned up."""
    reasons: tuple[str, ...] = ()
    """What went wrong, the latest last."""
    counters: tuple[str, ...] = ()
    """The counters in which it takes a place now."""
    lease_holder: str | None = None
    lease_until: float = 0.0
    version: int = 0
    """0: it was never written."""
    write: str = ""
    """The id of the write that made this version."""

    @property
    def order_id(self) -> str:
        """Return the id of what was asked for."""
        return self.order or self.id

    @property
    def settled(self) -> bool:
        """Whether nobody needs to start anything more for it."""
        return self.served or self.given_up is not None

    @property
    def client_token_parts(self) -> tuple[str, int, int, int]:
        """Return what AWS's client token is made of; its content is no part of it."""
        return self.id, self.tries, self.round, self.step

    def with_request(self, request: str) -> Launch:
        """Set what is sent in this step. What is stored already stays: it may have been sent."""
        if self.request is not None:
            return self
        if len(request) > LONGEST_TEXT:
            raise ValueError(f"a request of {len(request)} characters is too long for the record")
        return replace(self, request=request)

    def next_step(self, reason: str) -> Launch:
        """Go on to the pool's next capacity: this one was definitely refused."""
        return replace(self.with_reason(reason), step=self.step + 1, request=None)

    def next_round(self, reason: str) -> Launch:
        """Begin with the first capacity again: all were refused."""
        later = self.with_reason(reason)
        return replace(later, round=self.round + 1, step=0, request=None)

    def next_try(self, reason: str) -> Launch:
        """Begin anew: what was placed has ended without serving."""
        later = self.with_reason(reason)
        return replace(
            later,
            tries=self.tries + 1,
            round=1,
            step=0,
            pace=None,
            turn=0,
            due=0.0,
            request=None,
            place=None,
            placed_at=0.0,
            generation=0,
            announced_at=0.0,
            may_exist=False,
            runner_name=None,
            runner_id=None,
            handed_over=False,
            keeps_token=False,
            online=False,
            ended=False,
        )

    def placed(self, place: str, now: float = 0.0) -> Launch:
        """Set the task or instance that was started for it."""
        return replace(self, place=place, placed_at=now)

    def next_generation(self, runner_name: str, now: float = 0.0) -> Launch:
        """Announce the next token, before it is minted, and the name of its runner."""
        return replace(
            self,
            generation=self.generation + 1,
            announced_at=now,
            runner_name=runner_name,
            runner_id=None,
            handed_over=False,
        )

    def stolen(self, reason: str) -> Launch:
        """Count that another job took the runner."""
        return replace(self.with_reason(reason), thefts=self.thefts + 1)

    def give_up(self, reason: str) -> Launch:
        """Set why nobody tries any more."""
        return replace(self.with_reason(reason), given_up=reason[:LONGEST_REASON])

    def with_reason(self, reason: str) -> Launch:
        """Add a reason; the last MOST_REASONS are kept, and one that repeats is kept once."""
        short = reason[:LONGEST_REASON]
        if self.reasons[-1:] == (short,):
            return self
        return replace(self, reasons=(*self.reasons, short)[-MOST_REASONS:])


_FIELDS: Final = tuple(field.name for field in fields(Launch) if field.name != KEY)
_NUMBERS: Final = frozenset(
    {"first_seen", "tries", "failures", "round", "step", "turn", "due", "placed_at"}
    | {"generation", "announced_at", "runner_id", "thefts", "lease_until", "version"}
)
_FRACTIONS: Final = frozenset({"first_seen", "due", "placed_at", "announced_at", "lease_until"})
_LISTS: Final = frozenset({"reasons", "counters"})
_FLAGS: Final = frozenset({"may_exist", "handed_over", "keeps_token", "online", "served", "ended"})


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
        self.used_tokens = UsedTokens(self._calls, now)

    async def read(self, launch_id: str) -> Launch | None:
        """Read a record as it is now; None where there is none."""
        item = await self._calls.read(_launch_key(launch_id))
        return _decode(item) if item else None

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
        return {
            "TableName": self._table,
            "Key": _task_key(task),
            "UpdateExpression": "SET #launch = :launch, #expires = :expires",
            "ExpressionAttributeNames": {"#launch": LAUNCH, "#expires": EXPIRES},
            "ExpressionAttributeValues": {
                ":launch": {"S": launch_id},
                ":expires": make_number(int(self._now() + KEPT)),
            },
        }

    async def save_together(self, launches: list[Launch], tasks: Mapping[str, str]) -> list[Launch]:
        """Write several launches, and whose the tasks are: all or nothing. Raises Outdated."""
        until = self._now() + self._lease
        written = [
            replace(each, version=each.version + 1, write=self._new_id(), lease_until=until)
            for each in launches
        ]
        steps = [{"Update": _update(self._table, each, self._now() + KEPT)} for each in written]
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
        item = await self._calls.read(_task_key(task))
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
        steps = [_take(self._table, name, most) for name, most in wanted.items()]
        return await self._save(counted, steps, wanted)

    async def give_places(self, launch: Launch) -> Launch:
        """Take the launch out of all its counters. Raises Outdated."""
        if not launch.counters:
            return launch
        names = list(launch.counters)
        while True:
            steps = [_give(self._table, name) for name in names]
            try:
                return await self._save(
                    replace(launch, counters=()), steps, dict.fromkeys(names, 0)
                )
            except Full as error:  # it was corrected to zero meanwhile: nothing is left to give
                names.remove(error.counter)

    async def count(self, counter: str) -> int:
        """Read how many launches take a place in a counter: starts under way and living."""
        item = await self._calls.read(_counter_key(counter))
        return int(item[PLACES]["N"]) if item and PLACES in item else 0

    async def correct_count(self, counter: str, seen: int, actual: int) -> None:
        """Set a counter that was found wrong, if it is still as it was seen. Raises Outdated."""

        async def correct(client: Any) -> None:
            await client.update_item(
                TableName=self._table,
                Key=_counter_key(counter),
                UpdateExpression="SET #places = :actual",
                ConditionExpression="#places = :seen",
                ExpressionAttributeNames={"#places": PLACES},
                ExpressionAttributeValues={
                    ":actual": make_number(actual),
                    ":seen": make_number(seen),
                },
            )

        await self._calls.write("correct", correct)

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
        update = _update(self._table, written, self._now() + KEPT)

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
    return ServiceClient(DYNAMODB, region, make_session)


# ---- items -------------------------------------------------------------------------------------


def _launch_key(launch_id: str) -> dict[str, Any]:
    return {KEY: {"S": f"launch#{launch_id}"}}


def _task_key(task: str) -> dict[str, Any]:
    return {KEY: {"S": f"task#{task}"}}


def _counter_key(name: str) -> dict[str, Any]:
    return {KEY: {"S": f"counter#{name}"}}


def _update(table: str, launch: Launch, expires: float) -> dict[str, Any]:
    """Make the update of a record: only known attributes, so that a newer version's stay."""
    values = {name: _encode(getattr(launch, name)) for name in _FIELDS}
    values[EXPIRES] = make_number(int(expires))
    kept = {name: value for name, value in values.items() if value is not None}
    removed = [f"#{name}" for name in values if name not in kept]
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in kept)
    expression += f" REMOVE {', '.join(removed)}" if removed else ""
    is_new = launch.version == 1
    bound = {f":{name}": value for name, value in kept.items()}
    if not is_new:
        bound[":before"] = make_number(launch.version - 1)
    return {
        "TableName": table,
        "Key": _launch_key(launch.id),
        "UpdateExpression": expression,
        "ConditionExpression": (
            "attribute_not_exists(#version)" if is_new else "#version = :before"
        ),
        "ExpressionAttributeNames": {f"#{name}": name for name in values},
        "ExpressionAttributeValues": bound,
    }


def _take(table: str, counter: str, most: int) -> dict[str, Any]:
    return _count_by(table, counter, 1, "attribute_not_exists(#places) OR #places < :bound", most)


def _give(table: str, counter: str) -> dict[str, Any]:
    return _count_by(table, counter, -1, "#places > :bound", 0)


def _count_by(table: str, counter: str, change: int, condition: str, bound: int) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": table,
            "Key": _counter_key(counter),
            "UpdateExpression": "ADD #places :change",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#places": PLACES},
            "ExpressionAttributeValues": {
                ":change": make_number(change),
                ":bound": make_number(bound),
            },
        }
    }


def _encode(value: object) -> dict[str, Any] | None:
    match value:
        case None:
            return None
        case bool():
            return {"BOOL": value}
        case int() | float():
            return make_number(value)
        case tuple():
            return {"L": [{"S": str(item)} for item in value]}
        case _:
            return {"S": str(value)}


def _decode(item: Mapping[str, Any]) -> Launch:
    """Read a record. What an older version did not write has its default."""
    found = {name: _decode_value(name, item[name]) for name in _FIELDS if name in item}
    blank = Launch(item[KEY]["S"].removeprefix("launch#"), "", "", 0.0)
    return replace(blank, **found)


def _decode_value(name: str, value: Mapping[str, Any]) -> Any:
    if name in _LISTS:
        return tuple(entry["S"] for entry in value["L"])
    if name in _FLAGS:
        return value["BOOL"]
    if name in _FRACTIONS:
        return float(value["N"])
    return int(value["N"]) if name in _NUMBERS else value["S"]
