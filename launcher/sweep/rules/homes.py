"""End tasks and machines that have no runner after their boot, or are older than they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.errors import describe
from launcher.sweep.findings import Finding, Kind, Outcome
from launcher.tokens import DELETED
from launcher.work.limits import boot_limit
from sidecar import github
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.places.listing import Home
    from launcher.pools.pool import Pool
    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from launcher.sweep.inventory import Inventory

MARGIN = 300.0
"""Seconds that whoever started it has to end it: the sweep is the second net."""
LIFETIME = "SIDECAR_LIFETIME_LIMIT"
"""The variable with which a task is told how long it may live."""
NO_RUNNER = "no runner of it is online"
STOPPED = "it was stopped, and never runs again"
HAS_JOB = "its runner has a job"
TOKEN_LEFT = "it was stopped, but its token is left: "  # noqa: S105  it is no secret


class Homes:
    """The rule for tasks and machines."""

    def __init__(self, around: Around) -> None:
        self._around = around

    def find(self, seen: Inventory, report: Report) -> list[Finding]:
        """Find tasks and machines that nobody needs."""
        found = []
        for home in seen.homes.values():
            url = self._find_scope(home, seen)
            if url not in seen.runners:
                report.leave_out(home.place, f"its runner is not looked for at {url or 'GitHub'}")
                continue
            own = [each for each in seen.runners[url] if self._is_of(each, home)]
            if any(runner.busy for runner in own):
                continue
            reason = self._judge(home, seen, online=any(runner.online for runner in own))
            if reason is not None:
                kind = Kind.MACHINE if identity.is_machine(home.place) else Kind.TASK
                names = self._name_runners(home, seen, own)
                found.append(Finding(kind, home.place, reason, reason, url, runners=names))
        return found

    def _judge(self, home: Home, seen: Inventory, *, online: bool) -> str | None:
        """Say why nobody needs a home whose runner has no job; None: it is needed."""
        if home.halted:
            return STOPPED
        age = seen.begun - home.began - MARGIN
        pool = self._find_pool(home, seen)
        boot = boot_limit(pool) if pool is not None else self._around.limits.boot
        life = self._find_life(home, pool)
        if not online and age > boot:
            return f"{NO_RUNNER} after its boot_limit of {boot:g} s"
        if life is not None and age > life:
            return f"it is older than its life_limit of {life:g} s"
        return None

    def _find_life(self, home: Home, pool: Pool | None) -> float | None:
        if pool is not None:
            return float(boot_limit(pool) + pool.clocks.life)
        told = home.variables.get(LIFETIME, "")
        return float(told) if told.isdecimal() else self._around.limits.life

    def _find_pool(self, home: Home, seen: Inventory) -> Pool | None:
        launch = seen.ledger.find(home.id)
        return self._around.find_pool(launch.pool) if launch is not None else None

    def _find_scope(self, home: Home, seen: Inventory) -> str:
        """Find the URL that its runner is registered at; a task of an older version has no tag."""
        if identity.SCOPE_TAG in home.tags:
            return home.tags[identity.SCOPE_TAG]
        launch = seen.ledger.find(home.id)
        if launch is None or not launch.demand:
            return self._around.scopes[0] if self._around.scopes else ""
        return self._around.hub.find_url(Demand.from_json(launch.demand).repository)

    def _is_of(self, runner: github.Runner, home: Home) -> bool:
        return self._around.claims.find_task(runner.name) == home.id

    def _name_runners(
        self, home: Home, seen: Inventory, own: Sequence[github.Runner]
    ) -> tuple[str, ...]:
        """Name its runners: those that were seen, and those that may have come meanwhile."""
        launch = seen.ledger.find(home.id)
        generations = max(1, launch.newest_generation if launch is not None else 1)
        prefix = self._around.claims.name_prefix
        names = [each.name for each in own]
        names += [identity.runner_name(prefix, home.id, 1 + each) for each in range(generations)]
        return tuple(dict.fromkeys(names))

    async def end(self, findings: Sequence[Finding], report: Report) -> None:
        """End them, each after a last look at its runners; then delete their tokens.

        Ten with one call: deletes are what an account has fewest of. One counts as removed once
        its token is gone, too.
        """
        stopped: list[Finding] = []
        for finding in findings:
            try:
                kept = await self._remove_runners(finding)
                if kept is None:
                    await self._stop(finding)
            except SidecarError as error:
                report.add(finding, Outcome.KEPT, describe(error), failed=True)
                continue
            if kept is not None:
                report.add(finding, Outcome.KEPT, kept)
                continue
            stopped.append(finding)
            if len(stopped) == DELETED:
                await self._delete_tokens(stopped, report)
                stopped = []
        if stopped:
            await self._delete_tokens(stopped, report)

    async def _delete_tokens(self, stopped: Sequence[Finding], report: Report) -> None:
        """Delete the tokens of what was stopped, which nobody needs any more."""
        prefix = self._around.claims.parameter_prefix
        names = [identity.parameter_name(prefix, each.name) for each in stopped]
        try:
            await self._around.parameters.delete(names)
        except SidecarError as error:
            # By the next sweep they are tokens of what is gone.
            for finding in stopped:
                report.add(finding, Outcome.KEPT, TOKEN_LEFT + describe(error), failed=True)
        else:
            for finding in stopped:
                report.add(finding, Outcome.REMOVED)

    async def _remove_runners(self, finding: Finding) -> str | None:
        """Remove the runners first, so that none takes a job meanwhile; say why it is kept."""
        if not finding.runners:
            return None
        runners = await self._around.hub.runners(finding.place)
        for name in finding.runners:
            await self._around.removals.wait()
            found = await runners.find(name)
            if found is None:
                continue
            if found.busy:
                return HAS_JOB
            if found.online and finding.reason.startswith(NO_RUNNER):
                return "its runner is online"
            try:
                await runners.delete(found.id)
            except github.RunnerBusy:
                return HAS_JOB
        return None

    async def _stop(self, finding: Finding) -> None:
        place, why = finding.name, f"runner-launcher sweep: {finding.reason}"
        if finding.kind is Kind.MACHINE:
            await self._around.ec2.stop(place, why)
        else:
            cluster = place.rpartition(":task/")[2].partition("/")[0]
            await self._around.ecs(cluster).stop(place, why)
