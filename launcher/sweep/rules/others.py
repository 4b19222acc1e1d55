"""Find the orphans of other launchers, whose marks the settings give: tags, prefixes, paths.

Nothing tells which of their runners belongs to which task, unless its name holds the task's or
machine's id or its `Name`. So these rules are slower, and let live what they cannot judge.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher import identity
from launcher.sweep.findings import Finding, Kind
from launcher.sweep.rules.homes import LIFETIME, MARGIN, NO_RUNNER, STOPPED, Homes
from launcher.sweep.rules.runners import Runners
from launcher.sweep.rules.tokens import HOUR, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.places.listing import Home
    from launcher.sweep.findings import Report
    from launcher.sweep.inventory import Inventory
    from sidecar import github

_ID = re.compile(r"i-[0-9a-f]{17}(?![0-9a-f])|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


class OthersTokens(Tokens):
    """The rule for parameters below the paths of others: each is as old as its token."""

    def find(self, seen: Inventory, report: Report) -> list[Finding]:
        """Find parameters that are older than an hour: whose task they are for is not known."""
        del report
        return [
            Finding(Kind.TOKEN, each.name, "its hour is over", f"{each.version}/{each.written:.3f}")
            for each in seen.others_tokens
            if seen.begun - each.written > HOUR
        ]


class OthersRunners(Runners):
    """The rule for runners whose names begin as those of others."""

    def find(self, seen: Inventory, report: Report) -> list[Finding]:
        """Find ephemeral runners that are offline, and whose task is gone.

        One that names no task has the time of a boot to come online.
        """
        del report
        return [
            finding
            for url, runner in self._around.claims.list_others(seen.runners, seen.owned)
            if (finding := self._judge(url, runner, seen)) is not None
        ]

    def _judge(self, url: str, runner: github.Runner, seen: Inventory) -> Finding | None:
        if runner.online or runner.busy or not runner.ephemeral or _find_home(runner, seen):
            return None
        found = _ID.search(runner.name)
        if found is not None and not seen.is_gone(found[0]):
            return None
        patience = 0.0 if found is not None else self._around.limits.boot
        why = f"{found[0]} is gone" if found is not None else f"was so for {patience / 60:g} min"
        reason = f"it is offline, and {why}"
        return Finding(Kind.RUNNER, runner.name, reason, str(runner.id), url, patience)


class OthersHomes(Homes):
    """The rule for tasks and machines with the tags of others."""

    def find(self, seen: Inventory, report: Report) -> list[Finding]:
        """Find those without a runner after a boot, and those that are too old."""
        if seen.others and not seen.runners:
            report.leave_out("tasks and machines of others", "no scope of runners is known")
            return []
        runners = [*self._around.claims.list_others(seen.runners, seen.owned)]
        # Any of these may be the runner of any of these homes.
        loose = [each for _, each in runners if _find_home(each, seen) is None]
        return list(self._judge_all(seen, runners, loose))

    def _judge_all(
        self, seen: Inventory, runners: list[tuple[str, github.Runner]], loose: list[github.Runner]
    ) -> Iterator[Finding]:
        for home in seen.others.values():
            own = [(url, each) for url, each in runners if _find_home(each, seen) == home]
            may_be = [each for _, each in own] or loose
            if any(each.busy for each in may_be):
                continue
            reason = self._explain(home, seen, online=any(each.online for each in may_be))
            if reason is None:
                continue
            kind = Kind.MACHINE if identity.is_machine(home.place) else Kind.TASK
            url, names = own[0][0] if own else "", tuple(each.name for _, each in own)
            yield Finding(kind, home.place, reason, reason, url, runners=names)

    def _explain(self, home: Home, seen: Inventory, *, online: bool) -> str | None:
        """Say why nobody needs one whose runner has no job; None: it is needed."""
        limits, age = self._around.limits, seen.begun - home.began - MARGIN
        told = home.variables.get(LIFETIME, "")
        life = float(told) if told.isdecimal() else limits.life
        if home.halted:
            return STOPPED
        if not online and age > limits.boot:
            return f"{NO_RUNNER} after {limits.boot:g} s"
        if life is not None and age > life:
            return f"it is older than {life:g} s"
        return None


def _find_home(runner: github.Runner, seen: Inventory) -> Home | None:
    """Find the living task or machine that a runner of another launcher names."""
    for home in seen.others.values():
        if home.id in runner.name or runner.name == home.tags.get("Name"):
            return home
    return None
