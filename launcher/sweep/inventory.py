"""Say what there is: tokens, runners, tasks and machines, and what the table knows of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.record.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.places.listing import Home
    from launcher.record.launch import Launch
    from launcher.sweep.parameters import Token
    from sidecar import github

DAY = 86_400.0
"""Seconds for which GitHub keeps a job queued."""


@dataclass(slots=True)
class Inventory:
    """All that a sweep sees."""

    begun: float
    """The time of its begin, in seconds since 1970."""
    tokens: list[Token] = field(default_factory=list)
    runners: dict[str, list[github.Runner]] = field(default_factory=dict)
    """By the URL of their scope; a scope that could not be listed is not there."""
    homes: dict[str, Home] = field(default_factory=dict)
    """Our tasks and machines that live, by id."""
    others: dict[str, Home] = field(default_factory=dict)
    """Those of other launchers that the settings give."""
    others_tokens: list[Token] = field(default_factory=list)
    living: set[str] = field(default_factory=set)
    """The ids of all that live, whoever started them."""
    owned: set[str] = field(default_factory=set)
    """The ids of tasks and machines that are known as ours, living or gone."""
    elsewhere: set[str] = field(default_factory=set)
    """The ids of those in the accounts of callers of the API, where nobody looks."""
    ledger: Ledger = field(default_factory=Ledger)
    clusters: dict[str, str] = field(default_factory=dict)
    """The cluster of a task, by the task's id, as far as its token or its launch tells."""
    unlisted: set[str] = field(default_factory=set)
    """The clusters whose tasks could not be listed."""
    knows_machines: bool = True
    """All machines that live were listed: else none counts as gone."""

    def is_gone(self, home: str) -> bool:
        """Say whether a task or machine, by its id, does not live any more.

        It does not count as gone where nobody could look.
        """
        if home in self.living or home in self.elsewhere:
            return False
        if identity.is_machine(home):
            return self.knows_machines
        cluster = self.clusters.get(home)
        return cluster not in self.unlisted if cluster is not None else not self.unlisted

    def list_launches(self) -> Iterator[tuple[Launch, Demand, float]]:
        """Give each launch of a job or an order, with when it was written last."""
        for entry in self.ledger.entries.values():
            if entry.launch.demand:
                yield entry.launch, Demand.from_json(entry.launch.demand), entry.written

    def list_repositories(self) -> list[str]:
        """List the repositories that have had jobs within a day, as `owner/name`."""
        found = {
            demand.repository
            for _, demand, written in self.list_launches()
            if self.begun - written < DAY and not demand.repository.endswith("/-")
        }
        return sorted(found)


def is_in_other_account(demand: Demand) -> bool:
    """Say whether a demand's task is in the account of a caller of the API."""
    return demand.order is not None and demand.order.account is not None
