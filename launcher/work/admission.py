"""Decide whether a queued job gets a runner here: its pool, by labels and policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from launcher.errors import describe, describe_refusal
from launcher.pools import labels
from launcher.pools.access import Requester
from launcher.work.resources import PutOff
from sidecar import github

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.jobs import Jobs
    from launcher.pools.pool import Pool
    from launcher.work.resources import Resources

log = structlog.get_logger()

REFUSED = 300.0
"""Seconds before GitHub is asked again what it refuses to tell."""
UNANSWERED = 15.0
"""Seconds until GitHub is asked again who wants a runner."""


class Admission:
    """Chooses pools."""

    def __init__(self, around: Resources, jobs: Jobs) -> None:
        self._around = around
        self._jobs = jobs

    def is_ours(self, demand: Demand) -> bool:
        """Say whether a job asks for something of some pool."""
        return labels.is_ours(demand.labels, self._around.pools().offers)

    def find(self, name: str, demand: Demand) -> tuple[Pool, tuple[str, ...]] | None:
        """Return a pool, and what its runner registers; None where it does not fit any more."""
        if demand.order is not None:  # the API has chosen the pool, and the labels
            chosen = self._around.pools().by_name.get(name)
            return (chosen, demand.labels) if chosen is not None else None
        for pool, match in self._around.pools().rank(demand.labels):
            if pool.name == name:
                return pool, match.labels
        return None

    async def choose(self, demand: Demand) -> Pool | PutOff | None:
        """Choose the pool of a job. None: it gets no runner here, which is said once.

        A policy that needs what only GitHub tells admits nobody until GitHub tells it.
        """
        if demand.order is not None:  # only its caller may choose another pool
            return None
        reasons = []
        for pool, _ in self._around.pools().rank(demand.labels):
            who: Requester | PutOff = Requester(demand.repository)
            if pool.access.needs_run and pool.access.admits_repository(demand.repository):
                who = await self._ask(demand)
            if isinstance(who, PutOff):
                return who
            if (reason := pool.access.refusal(who)) is None:
                return pool
            reasons.append(f"{pool.name}: {reason}")
        self._explain(demand, reasons)
        return None

    async def _ask(self, demand: Demand) -> Requester | PutOff:
        connection = self._around.connections.for_demand(demand)
        try:
            return await self._jobs.find_requester(connection, demand)
        except github.TransientError as error:
            return PutOff(UNANSWERED, f"who asks is not known: {describe(error)}")
        except github.GitHubError as error:
            # Nobody is admitted, and the message stays: a permission can be given.
            reason = describe_refusal(error, "Actions: read")
            facts = {"job": demand.job_id, "repository": demand.repository}
            log.error("demand.unknown", **facts, reason=reason)  # noqa: TRY400
            return PutOff(REFUSED, f"who asks is not known: {reason}")

    def _explain(self, demand: Demand, reasons: list[str]) -> None:
        facts = {"job": demand.job_id, "repository": demand.repository}
        if reasons:
            log.warning("demand.refused", **facts, reason="; ".join(reasons))
            return
        found = labels.choose(demand.labels, self._around.pools().offers)
        if isinstance(found, labels.Unserved):
            log.warning("demand.unserved", **facts, nearest=found.nearest, reason=found.reason)
