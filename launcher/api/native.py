"""Translate a request of the API's own contract, whose caller GitHub's OIDC token proves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.api.answers import Refused
from launcher.api.choices import check_fitting, choose
from launcher.demand.delivery import MOST_LABELS, QUEUED, Demand
from launcher.demand.order import Order
from launcher.pools.access import Requester
from sidecar.values import LABEL_LENGTH

if TYPE_CHECKING:
    from launcher.api.oidc import Identity
    from launcher.api.requests import Fields
    from launcher.pools.callers import Caller
    from launcher.pools.pool import Pool, Pools

KEY = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
ID = re.compile(r"[0-9a-f]{32}")
POOL = re.compile(r"[a-z0-9-]{1,40}")


@dataclass(frozen=True, slots=True)
class Start:
    """A start that its caller may ask for."""

    id: str
    """Of the launch: the same for the same job and key."""
    pool: str
    demand: Demand
    dry_run: bool


def find_caller(pools: Pools, who: Identity) -> Caller:
    """Find the caller that the identity is of. Raises Refused."""
    reasons = []
    for caller in pools.callers:
        if not caller.covers(who.repository_id, who.owner_id):
            continue
        reason = caller.refuse(who.event, who.ref)
        if reason is None:
            return caller
        reasons.append(f"{caller.name}: {reason}")
    raise Refused(403, "; ".join(reasons) or "the repository is of no caller that is listed")


def read_start(fields: Fields, who: Identity, pools: Pools, deployment: str) -> Start:
    """Read a start, and check that this caller may have it. Raises Refused."""
    caller = find_caller(pools, who)
    labels = _read_labels(fields.take("labels"))
    key = fields.text("key", KEY, "-")
    wanted = fields.optional_text("pool", POOL)
    dry_run = fields.flag("dryrun")
    chosen = choose(fields, caller.choices)
    fields.finish()
    pool, registered = _choose_pool(pools, caller, labels, wanted, who)
    check_fitting(chosen, pool)
    order = Order(
        caller.name,
        caller.maximum,
        account=caller.account.number if caller.account else None,
        **chosen,
    )
    demand = make_demand(
        order, who.repository, who.repository_id, registered, who.run_id, who.run_attempt
    )
    job = f"{who.repository_id}.{who.run_id}.{who.run_attempt}.{who.check_run}"
    return Start(identity.launch_id(deployment, "api", job, key), pool.name, demand, dry_run)


def make_demand(
    order: Order,
    repository: str,
    repository_id: int,
    labels: tuple[str, ...],
    run_id: int = 0,
    run_attempt: int = 1,
) -> Demand:
    """Make what stands for an order among the jobs: it has no job, and is always queued."""
    return Demand(
        QUEUED,
        "",
        repository,
        repository_id,
        None,
        None,
        None,
        0,
        run_id,
        run_attempt,
        labels,
        order=order,
    )


def is_owner(demand: Demand, who: Identity) -> bool:
    """Whether an order is of the repository that calls."""
    return demand.repository_id == who.repository_id


def _choose_pool(
    pools: Pools, caller: Caller, labels: tuple[str, ...], wanted: str | None, who: Identity
) -> tuple[Pool, tuple[str, ...]]:
    if wanted is not None and wanted not in caller.pools:
        raise Refused(403, f"pool: {wanted} is not listed for {caller.name}")
    # A fork's pull request gets no token, so the commit is the repository's own.
    asking = Requester(who.repository, who.event, who.repository, (who.ref,))
    reasons = []
    for pool, match in pools.rank(labels):
        if pool.name not in caller.pools or wanted not in (None, pool.name):
            continue
        if (reason := pool.access.refusal(asking)) is None:
            return pool, match.labels
        reasons.append(f"{pool.name}: {reason}")
    if reasons:
        raise Refused(403, "; ".join(reasons))
    raise Refused(403, f"no pool that is listed for {caller.name} has all of these labels")


def _read_labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_LABELS:
        raise Refused(400, f"labels must be a list of 1 to {MOST_LABELS} labels")
    for label in value:
        if not isinstance(label, str) or not label.strip() or not label.isprintable():
            raise Refused(400, "labels has one that no runner can have")
        if len(label) > LABEL_LENGTH:
            raise Refused(400, f"labels has one with more than {LABEL_LENGTH} characters")
    return tuple(dict.fromkeys(value))
