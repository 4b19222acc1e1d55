"""Read how all pools are now: the launches' table, the queue, the document of pools, GitHub."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from launcher.demand.delivery import Demand
from launcher.errors import LaunchError, describe
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from launcher.pools.pool import Pools
    from launcher.record.launch import Launch
    from launcher.record.ledger import Entry, Ledger
    from launcher.record.records import Records

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for one question."""
LAST = 10
"""Launches that are shown."""
STOPPED_AT = 6
"""Faults in a row that stop a pool (`launcher.work.pool_rules`)."""
WAITING, STARTING, IDLE, RUNNING, ENDING, ENDED = (
    "waiting",
    "starting",
    "idle",
    "running",
    "ending",
    "ended",
)
STAGES = (WAITING, STARTING, IDLE, RUNNING, ENDING)
"""The stages of launches that are not over."""


class Counts(Protocol):
    """A queue whose messages can be counted."""

    async def count(self) -> Mapping[str, int]:
        """Count them. Raises AwsError."""


@dataclass(slots=True)
class PoolStatus:
    """One pool."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    """Launches by stage."""
    failing: int = 0
    """Launches that want a runner, and of which a task has failed."""
    faults: int = 0
    """Faults in a row of the pool."""
    stopped_until: float = 0.0
    taken: int = 0
    """Places that are taken."""
    maximum: int | None = None
    """None: the document of pools does not name it, or was not read."""
    oldest: float | None = None
    """When the oldest job was first seen that has no task."""

    def is_stopped(self, now: float) -> bool:
        """Whether nothing is started in it, because its last tasks failed."""
        return self.faults >= STOPPED_AT and self.stopped_until > now


@dataclass(frozen=True, slots=True)
class LastLaunch:
    """One of the last launches."""

    at: float
    """When it was written last."""
    pool: str
    stage: str
    job: int
    repository: str
    place: str
    tries: int
    reason: str
    """Its last mishap, or why nobody tries any more."""


@dataclass(slots=True)
class Snapshot:
    """All pools at one moment."""

    now: float
    pools: list[PoolStatus] = field(default_factory=list)
    last: list[LastLaunch] = field(default_factory=list)
    messages: Mapping[str, int] | None = None
    dead: Mapping[str, int] | None = None
    account: tuple[int, int | None] | None = None
    """Places that are taken of all pools together, and how many there are."""
    github: tuple[float, int] | None = None
    """The share of the hour's calls that is left, and seconds until all are there again."""
    unseen: list[str] = field(default_factory=list)

    @property
    def oldest(self) -> float | None:
        """Return when the oldest job was first seen that has no task."""
        found = [pool.oldest for pool in self.pools if pool.oldest is not None]
        return min(found, default=None)


@dataclass(frozen=True)
class Around:
    """All that can be asked; None: no setting says where it is."""

    records: Records
    now: Callable[[], float]
    pools: Callable[[], Awaitable[Pools]] | None = None
    queue: Counts | None = None
    maximum: int | None = None
    ask_limit: Callable[[str], Awaitable[tuple[float, int]]] | None = None
    """Ask GitHub what is left of its limit, by a repository whose runners are started."""


async def take_snapshot(around: Around) -> Snapshot:
    """Read all of it. What cannot be asked is noted; the rest is told. Raises AwsError.

    Without the table there is nothing to tell.
    """
    shot = Snapshot(around.now())
    ledger = await around.records.read_all()
    known = await _ask(shot, around.pools()) if around.pools is not None else None
    if around.pools is None:
        shot.unseen.append("no pools were read, so no maximum is known: set LAUNCHER_POOLS")
    _sort(shot, ledger, known)
    await asyncio.gather(*(_read_pool(shot, around.records, pool) for pool in shot.pools))
    await _read_limits(shot, around, ledger)
    return shot


def find_stage(launch: Launch) -> str:
    """Say how far a launch is, as its record tells.

    A worker writes down that a runner is online when it looks; a job that has begun is told by
    GitHub's webhook. So a runner may be online while its launch is still said to be starting.
    """
    if launch.ended:
        return ENDED
    if launch.served:
        return RUNNING
    if launch.given_up is not None:
        return ENDED if launch.place is None and launch.request is None else ENDING
    if launch.place is None:
        return WAITING
    return IDLE if launch.online else STARTING


def _sort(shot: Snapshot, ledger: Ledger, known: Pools | None) -> None:
    found: dict[str, PoolStatus] = {}
    for each in known or ():
        found[each.name] = PoolStatus(each.name, maximum=each.maximum)
    for entry in ledger.entries.values():
        launch, stage = entry.launch, find_stage(entry.launch)
        if stage == ENDED or not launch.pool:
            continue
        pool = found.setdefault(launch.pool, PoolStatus(launch.pool))
        pool.counts[stage] = pool.counts.get(stage, 0) + 1
        if launch.failures and not launch.settled:
            pool.failing += 1
        if stage == WAITING:
            pool.oldest = min(pool.oldest or launch.first_seen, launch.first_seen)
    shot.pools = list(found.values())
    newest = sorted(ledger.entries.values(), key=lambda entry: entry.written, reverse=True)
    shot.last = [_read_last(entry) for entry in newest[:LAST]]


def _read_last(entry: Entry) -> LastLaunch:
    launch = entry.launch
    demand = read_demand(launch)
    reason = launch.given_up or next(iter(launch.reasons[-1:]), "")
    return LastLaunch(
        entry.written,
        launch.pool,
        find_stage(launch),
        demand.job_id if demand is not None else 0,
        demand.repository if demand is not None else "",
        (launch.place or "").rpartition("/")[2],
        launch.tries,
        reason,
    )


def read_demand(launch: Launch) -> Demand | None:
    """Read the demand of a launch; None where it has none that is understood."""
    try:
        return Demand.from_json(launch.demand)
    except ValueError:
        return None


async def _read_pool(shot: Snapshot, records: Records, pool: PoolStatus) -> None:
    pool.taken = await _ask(shot, records.count(f"pool/{pool.name}")) or 0
    state = await _ask(shot, records.pools.read(pool.name))
    if state is not None:
        pool.faults, pool.stopped_until = state.failures, state.stopped_until


async def _read_limits(shot: Snapshot, around: Around, ledger: Ledger) -> None:
    if around.maximum is not None:
        shot.account = (await _ask(shot, around.records.count("account")) or 0, around.maximum)
    if around.queue is None:
        shot.unseen.append("the queue was not asked: set LAUNCHER_QUEUE_URL")
    else:
        shot.messages = await _ask(shot, around.queue.count())
    if around.ask_limit is None:
        shot.unseen.append(
            "GitHub was not asked: set LAUNCHER_GITHUB_APP_ID and its key, or LAUNCHER_GITHUB_PAT"
        )
        return
    newest = sorted(ledger.entries.values(), key=lambda entry: entry.written, reverse=True)
    demands = (read_demand(entry.launch) for entry in newest)
    repository = next((each.repository for each in demands if each is not None), None)
    if repository is not None:
        shot.github = await _ask(shot, around.ask_limit(repository))


async def _ask(shot: Snapshot, work: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await work
    except TimeoutError:
        reason = f"no answer within {PATIENCE:g} s"
    except (SidecarError, LaunchError) as error:
        reason = describe(error)
    if reason not in shot.unseen:
        shot.unseen.append(reason)
    return None
