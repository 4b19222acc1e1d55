"""List what there is: tokens, runners, tasks and machines, in an order that hides no race.

A task is there before its token and before its runner. So tokens and runners are listed first, and
what lives after them: what seems to have no task has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher import identity
from launcher.places.listing import (
    LIVING_FILTER,
    describe_tasks,
    list_machines,
    list_tasks,
    tag_filter,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.places.listing import Home
    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from launcher.sweep.parameters import Token
    from sidecar import github


@dataclass(slots=True)
class Inventory:
    """All that a sweep sees."""

    begun: float
    """When it was begun, in seconds since 1970."""
    tokens: list[Token] = field(default_factory=list)
    runners: dict[str, list[github.Runner]] = field(default_factory=dict)
    """By the URL of their scope; a scope that could not be listed is not there."""
    homes: dict[str, Home] = field(default_factory=dict)
    """Our tasks and machines that live, by id."""
    living: set[str] = field(default_factory=set)
    """The ids of all that live, whoever started them."""
    owned: set[str] = field(default_factory=set)
    """The ids of tasks and machines that are known as ours, living or gone."""
    is_complete: bool = True
    """Whether all that lives was listed: else nothing counts as gone."""

    def is_gone(self, home: str) -> bool:
        """Say whether a task or machine, by its id, does not live any more."""
        return self.is_complete and home not in self.living


class Stocktaker:
    """Takes inventories; what it has seen as ours it remembers."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._known: set[str] = set()

    async def take(self, report: Report) -> Inventory:
        """List everything. What cannot be listed stands in the report."""
        around = self._around
        seen = Inventory(around.now())
        claims = around.claims
        listing = around.parameters.list_tokens(claims.parameter_prefix, claims.deployment)
        tokens = await report.attempt("tokens", listing)
        seen.tokens = tokens or []
        clusters = self._find_clusters(seen.tokens)
        await self._list_homes(seen, clusters, report)
        for url in self._find_scopes(seen):
            await self._list_runners(seen, url, report)
        await self._list_living(seen, clusters, report)
        await self._find_owners(seen, clusters, report)
        return seen

    # -- tasks and machines ------------------------------------------------------------------

    def _find_clusters(self, tokens: Iterable[Token]) -> list[str]:
        names = [*self._around.clusters]
        if self._around.pools is not None:
            names += [pool.cluster for pool in self._around.pools() if pool.machine is None]
        names += [each.place for each in tokens if ":task/" in each.place]
        return sorted({_name_cluster(name) for name in names})

    async def _list_homes(self, seen: Inventory, clusters: list[str], report: Report) -> None:
        """List our tasks and machines, with their tags."""
        homes: list[Home] = []
        for cluster in clusters:
            client = self._around.ecs(cluster)
            tasks = await report.attempt(f"tasks of {cluster}", list_tasks(client, cluster)) or []
            listing = describe_tasks(client, cluster, tasks)
            homes += await report.attempt(f"tasks of {cluster}", listing) or []
        homes += await self._list_machines(report) or []
        own = [home for home in homes if self._around.claims.owns(home) and not home.stopping]
        seen.homes = {home.id: home for home in own}

    async def _list_living(self, seen: Inventory, clusters: list[str], report: Report) -> None:
        """List once more what lives: what has come meanwhile, and what has gone."""
        again: set[str] = set()
        for cluster in clusters:
            listing = list_tasks(self._around.ecs(cluster), cluster)
            tasks = await report.attempt(f"tasks of {cluster}", listing)
            seen.is_complete = seen.is_complete and tasks is not None
            again |= {identity.task_id(task) for task in tasks or []}
        machines = await self._list_machines(report)
        seen.is_complete = seen.is_complete and machines is not None
        again |= {machine.id for machine in machines or []}
        seen.living = again | seen.homes.keys()
        seen.homes = {id_: home for id_, home in seen.homes.items() if id_ in again}

    async def _list_machines(self, report: Report) -> list[Home] | None:
        if self._around.ec2 is None:
            return []
        ours = tag_filter(identity.DEPLOYMENT_TAG, self._around.claims.deployment)
        return await report.attempt(
            "machines", list_machines(self._around.ec2, [ours, LIVING_FILTER])
        )

    # -- runners -----------------------------------------------------------------------------

    def _find_scopes(self, seen: Inventory) -> list[str]:
        urls = [*self._around.scopes]
        urls += [token.scope for token in seen.tokens]
        urls += [home.tags.get(identity.SCOPE_TAG, "") for home in seen.homes.values()]
        return list(dict.fromkeys(filter(None, urls)))

    async def _list_runners(self, seen: Inventory, url: str, report: Report) -> None:
        connection = self._around.connections.connect_to(url)
        if connection is None:
            report.leave_out(f"runners of {url}", "it is another GitHub than LAUNCHER_GITHUB_URL")
            return

        async def work() -> list[github.Runner]:
            return await (await connection.runners()).list_all()

        runners = await report.attempt(f"runners of {url}", work())
        if runners is not None:
            seen.runners[url] = runners

    async def _find_owners(self, seen: Inventory, clusters: list[str], report: Report) -> None:
        """Find out of which tasks we know that they are, or were, ours."""
        self._known |= seen.homes.keys()
        seen.owned = self._known | {identity.task_id(token.place) for token in seen.tokens}
        find = self._around.claims.find_task
        named = {find(each.name) for listed in seen.runners.values() for each in listed}
        asked = sorted(task for task in named if task is not None and seen.is_gone(task))
        unknown = [task for task in asked if task not in seen.owned]
        tasks = [task for task in unknown if not identity.is_machine(task)]
        for cluster in clusters if tasks else ():
            listing = describe_tasks(self._around.ecs(cluster), cluster, tasks)
            homes = await report.attempt(f"stopped tasks of {cluster}", listing) or []
            seen.owned |= {home.id for home in homes if self._around.claims.owns(home)}


def _name_cluster(text: str) -> str:
    """Return the name of a cluster, of its ARN, or of the ARN of one of its tasks."""
    if ":task/" in text:
        return text.rpartition(":task/")[2].partition("/")[0]
    return text.rpartition("/")[2]
