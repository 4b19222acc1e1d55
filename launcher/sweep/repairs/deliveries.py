"""Have GitHub send lost deliveries again: by itself it never does.

Attempts of one delivery have the same GUID. It is sent again only if none of them was taken, its
job has no record, and GitHub says that the job is still queued.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from launcher.demand.delivery import QUEUED, Demand, Refused, translate
from launcher.jobs import Jobs, Unknown
from launcher.sweep.findings import Finding, Kind, Outcome
from launcher.sweep.repairs.hooks import FAILURE, SUCCESS, find_app_hooks, find_hooks
from launcher.work.queued import launch_id, waited

if TYPE_CHECKING:
    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from launcher.sweep.inventory import Inventory
    from launcher.sweep.repairs.hooks import Delivery, Webhook

WINDOW = 24 * 3600.0
"""Seconds for which GitHub keeps a job queued."""
FRESH = 60.0
"""Seconds in which an attempt may still be under way."""
ATTEMPTS = 5
"""Attempts after which it is the webhook that has to be mended."""
MOST = 100
"""Deliveries of one webhook that one sweep looks into."""
MAY_PASS = (401, 408, 429)
"""Refusals that end when somebody mends the webhook; what it refuses otherwise is not lost."""


class Deliveries:
    """Repairs lost deliveries."""

    def __init__(self, around: Around, webhook_url: str | None) -> None:
        self._around = around
        self._webhook_url = webhook_url
        self._jobs = Jobs()

    async def repair(self, seen: Inventory, report: Report, *, dry_run: bool) -> None:
        """Look at each webhook."""
        if self._around.records is None:
            return  # nobody takes webhooks
        hooks = find_app_hooks(self._around.hub)
        if self._webhook_url is not None:
            looking = find_hooks(self._around.hub, self._webhook_url, self._find_scopes(seen))
            hooks += await report.attempt("webhooks", looking) or []
        if not hooks:
            report.leave_out("lost deliveries", "no App, and LAUNCHER_WEBHOOK_URL names no webhook")
        for hook in hooks:
            work = self._repair_hook(hook, seen, report, dry_run=dry_run)
            await report.attempt(f"deliveries of {hook.name}", work)

    def _find_scopes(self, seen: Inventory) -> list[str]:
        """Return the URLs of the repositories that have had jobs, and of their owners."""
        names = seen.list_repositories()
        server = self._around.server
        owners = dict.fromkeys(name.partition("/")[0] for name in names)
        return [f"{server}/{each}" for each in (*owners, *names)]

    async def _repair_hook(
        self, hook: Webhook, seen: Inventory, report: Report, *, dry_run: bool
    ) -> None:
        for delivery, attempts in await self._find_lost(hook, seen.begun):
            demand = await self._find_demand(hook, delivery, report)
            if demand is None:
                continue
            reason = f"job {demand.job_id} of {demand.repository}: {delivery.status}"
            place = f"{hook.name}: {delivery.guid}"
            finding = Finding(Kind.DELIVERY, place, reason)
            if attempts >= ATTEMPTS:
                report.add(finding, Outcome.KEPT, f"{attempts} attempts failed", failed=True)
            elif dry_run:
                report.add(finding, Outcome.WOULD_SEND)
            else:
                await hook.send_again(delivery)
                report.add(finding, Outcome.SENT)

    async def _find_lost(self, hook: Webhook, now: float) -> list[tuple[Delivery, int]]:
        """Find the last attempt of each delivery that nobody has taken, and how many there were."""
        oldest = datetime.fromtimestamp(now - WINDOW, UTC)
        attempts: dict[str, list[Delivery]] = {}
        async for each in hook.list_attempts(FAILURE, oldest):
            if (each.event, each.action) == ("workflow_job", QUEUED) and not each.is_ok:
                attempts.setdefault(each.guid, []).append(each)
        if not attempts:
            return []
        begun = min(each.at for tried in attempts.values() for each in tried)
        async for each in hook.list_attempts(SUCCESS, begun):
            if each.is_ok:
                attempts.pop(each.guid, None)
        fresh = datetime.fromtimestamp(now - FRESH, UTC)
        lost = [(tried[0], len(tried)) for tried in attempts.values()]
        lost = [each for each in lost if each[0].at <= fresh and _is_lost(each[0])]
        return lost[-MOST:][::-1]

    async def _find_demand(
        self, hook: Webhook, delivery: Delivery, report: Report
    ) -> Demand | None:
        """Return what a delivery demands; None where nobody has to serve it any more."""
        headers, payload = await hook.read(delivery)
        try:
            demand = translate(headers, json.dumps(payload).encode())
        except Refused:
            return None
        if not self._around.serves(demand.repository, demand.labels):
            return None
        return demand if await self.is_unserved(demand, report) else None

    async def is_unserved(self, demand: Demand, report: Report) -> bool:
        """Say whether a job is queued, and nobody works on it. Raises SidecarError.

        It has no record, or one that ended when the job began to wait for an approval.

        If GitHub does not tell now, or its last calls of the hour are for others, it is not sent,
        and the report says so.
        """
        records = self._around.records
        assert records is not None, "asked before"  # noqa: S101
        launch = await records.read(launch_id(self._around.claims.deployment, demand))
        if launch is not None and not (launch.ended and waited(launch)):
            return False
        connection = self._around.hub.connect(self._around.hub.find_url(demand.repository))
        found = await self._jobs.look_up(connection, demand)
        if isinstance(found, Unknown):
            if found.may_pass:
                report.leave_out("jobs that may have lost their message", found.reason)
            return False
        return found.action == QUEUED


def _is_lost(delivery: Delivery) -> bool:
    return not 400 <= delivery.code < 500 or delivery.code in MAY_PASS
