"""Tell which pool serves the job's labels, whether it has room, and who else waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.explain.case import Room
from launcher.explain.entries import Entry, Mark, Source, clean, seconds
from launcher.pools import labels
from launcher.pools.access import Requester

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.explain.case import Case
    from launcher.pools.pool import Pool, Pools
    from launcher.record.records import Records

FAILURES = 6
"""Faults in a row that stop a pool (`launcher.work.pool_rules`)."""


def match(case: Case, pools: Pools) -> None:
    """Note which pools serve the job, or why none does."""
    case.pools = [pool for pool, _ in pools.rank(case.labels)]
    if not case.pools:
        found = labels.choose(case.labels, pools.offers)
        if isinstance(found, labels.Unserved):
            case.unserved = found.reason
        else:
            case.unserved = "it asks for no label of any pool, nor for `self-hosted`"
        return
    if case.run is None or case.repository is None:
        return
    who = Requester.from_run(case.repository, case.run)
    reasons = [(pool.name, pool.access.refusal(who)) for pool in case.pools]
    if all(reason for _, reason in reasons):
        case.refusals = [f"{name}: {reason}" for name, reason in reasons]


def find_pool(case: Case) -> Pool | None:
    """Return the pool of the launch, or the one that would serve the job."""
    if not case.pools:
        return None
    name = case.launch.pool if case.launch is not None else case.pools[0].name
    return next((pool for pool in case.pools if pool.name == name), None)


async def read_rooms(
    records: Records, case: Case, maximum: int | None, repository_maximum: int | None
) -> list[Room]:
    """Read the counters in which the launch takes a place. Raises AwsError."""
    pool = find_pool(case)
    name = case.launch.pool if case.launch is not None else pool.name if pool else None
    limits: dict[str, int | None] = {}
    if name:
        limits[f"pool/{name}"] = pool.maximum if pool is not None else None
    if case.repository_id is not None and repository_maximum is not None:
        limits[f"repository/{case.repository_id}"] = repository_maximum
    if maximum is not None:
        limits["account"] = maximum
    held = case.launch.counters if case.launch is not None else ()
    limits |= {counter: None for counter in held if counter not in limits}
    return [
        Room(counter, await records.count(counter), most, counter in held)
        for counter, most in limits.items()
    ]


def tell(case: Case) -> Iterator[Entry]:
    """Yield what the pools decide about the job."""
    yield from _tell_match(case)
    if _waits_for_room(case):
        yield from _tell_rooms(case)
        yield from _tell_state(case)


def _tell_match(case: Case) -> Iterator[Entry]:
    at = case.began
    if case.unserved is not None and case.launch is None:
        advice = "change `runs-on` of the job, or give a pool these labels (LAUNCHER_POOLS)"
        text = f"no pool serves it: {clean(case.unserved)}"
        yield Entry(Source.POOLS, text, None, Mark.FAILED, advice, after=at)
    elif case.refusals and case.launch is None:
        text = f"the policy of every pool refuses it: {clean('; '.join(case.refusals))}"
        advice = "change `access` of a pool (LAUNCHER_POOLS)"
        yield Entry(Source.POOLS, text, None, Mark.FAILED, advice, after=at)
    elif (pool := find_pool(case)) is not None:
        others = ", ".join(each.name for each in case.pools or [] if each is not pool)
        more = f"; others that match: {others}" if others else ""
        text = f"the pool {pool.name} has all of its labels{more}"
        yield Entry(Source.POOLS, text, None, after=at)
    elif case.launch is not None and case.pools is not None and case.launch.pool:
        text = f"the pool {case.launch.pool} does not match its labels any more"
        yield Entry(Source.POOLS, text, None, after=at)


def _waits_for_room(case: Case) -> bool:
    """Whether the job has no task, and wants one."""
    job, launch = case.job, case.launch
    if job is not None and (job.began or job.status != "queued"):
        return False
    return launch is None or (launch.place is None and not launch.settled)


def _tell_rooms(case: Case) -> Iterator[Entry]:
    for room in case.rooms:
        kind, _, name = room.name.partition("/")
        what = f"the {kind} {name}".rstrip()
        most = f" of {room.most}" if room.most is not None else ""
        text = f"{what} has {room.taken}{most} runners starting or living"
        if room.is_full and not room.is_ours:
            setting = {"account": "LAUNCHER_MAXIMUM", "repository": "LAUNCHER_REPOSITORY_MAXIMUM"}
            advice = f"wait for one to end, or raise {setting.get(kind, '`maximum` of the pool')}"
            text = f"{text}: its maximum is reached"
            yield Entry(Source.POOLS, text, case.now, Mark.FAILED, advice)
        else:
            yield Entry(Source.POOLS, text, case.now)


def _tell_state(case: Case) -> Iterator[Entry]:
    state = case.state
    if state is None:
        return
    if state.failures >= FAILURES and state.stopped_until > case.now:
        left = seconds(state.stopped_until - case.now)
        text = f"the pool is stopped for {left}: its last {state.failures} tasks failed"
        advice = "look at why they failed: `runner-launcher status` names the last launches"
        yield Entry(Source.POOLS, text, case.now, Mark.FAILED, advice)
    elif state.failures:
        yield Entry(Source.POOLS, f"its last {state.failures} tasks failed", case.now)
    own = case.launch.id if case.launch is not None else None
    if state.oldest not in (None, own) and state.oldest_until > case.now:
        text = "a job that is older waits for room in the pool, and goes first"
        yield Entry(Source.POOLS, text, case.now, Mark.WAITS)
