"""Take an inventory, in an order that hides no race.

A task is there before its token and before its runner. So tokens and runners are listed first, and
what lives after them: what seems to have no task has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher import identity
from launcher.places.listing import (
    LIVING_FILTER,
    Home,
    describe_tasks,
    id_filters,
    list_machines,
    list_tasks,
    tag_filter,
)
from launcher.record.ledger import Ledger
from launcher.sweep.inventory import DAY, Inventory, is_in_other_account

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from sidecar import github

RECENT = 7200.0
"""Seconds after its last change in which a launch that has ended may still have left a runner."""


class Stocktaker:
    """Takes inventories; what it has seen as ours it remembers."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._known: dict[str, float] = {}
        """The time at which each of our tasks and machines was seen last, by its id."""

    async def take(self, report: Report) -> Inventory:
        """List everything. What cannot be listed stands in the report."""
        around = self._around
        seen = Inventory(around.now())
        if around.records is not None:
            seen.ledger = await report.attempt("launches", around.records.read_all()) or Ledger()
        claims = around.claims
        listing = around.parameters.list_tokens(claims.parameter_prefix, claims.deployment)
        seen.tokens = await report.attempt("tokens", listing) or []
        for path in claims.others_paths:
            listing = around.parameters.list_tokens(path, None)
            seen.others_tokens += await report.attempt(f"tokens below {path}", listing) or []
        seen.elsewhere = _find_elsewhere(seen)
        clusters = self._find_clusters(seen)
        await self._list_homes(seen, clusters, report)
        for url in self._find_scopes(seen):
            await self._list_runners(seen, url, report)
        await self._list_living(seen, clusters, report)
        await self._find_owned(seen, clusters, report)
        return seen

    # -- tasks and machines ------------------------------------------------------------------

    def _find_clusters(self, seen: Inventory) -> list[str]:
        names = [*self._around.clusters, *self._around.list_pool_clusters()]
        places = [token.place for token in seen.tokens]
        places += [
            launch.place or ""
            for launch, demand, _ in seen.list_launches()
            if not is_in_other_account(demand)
        ]
        tasks = [place for place in places if _is_arn(place)]
        seen.clusters = {identity.task_id(task): _name_cluster(task) for task in tasks}
        return sorted({*map(_name_cluster, names), *seen.clusters.values()})

    async def _list_homes(self, seen: Inventory, clusters: list[str], report: Report) -> None:
        """List our tasks and machines, with their tags."""
        homes: list[Home] = []
        for cluster in clusters:
            client = self._around.ecs(cluster)
            tasks = await report.attempt(f"tasks of {cluster}", list_tasks(client, cluster)) or []
            listing = describe_tasks(client, cluster, tasks)
            homes += await report.attempt(f"tasks of {cluster}", listing) or []
        homes += await self._list_machines(report) or []
        claims, living = self._around.claims, [home for home in homes if not home.stopping]
        seen.homes = {home.id: home for home in living if claims.owns(home)}
        seen.others = {home.id: home for home in living if claims.owns_as_others(home)}

    async def _list_living(self, seen: Inventory, clusters: list[str], report: Report) -> None:
        """List once more what lives: what has come meanwhile, and what has gone."""
        again: set[str] = set()
        for cluster in clusters:
            listing = list_tasks(self._around.ecs(cluster), cluster)
            tasks = await report.attempt(f"tasks of {cluster}", listing)
            if tasks is None:
                seen.unlisted.add(cluster)
            again |= {identity.task_id(task) for task in tasks or []}
        machines = await self._list_machines(report)
        seen.knows_machines = machines is not None
        again |= {machine.id for machine in machines or []}
        seen.living = again | seen.homes.keys() | seen.others.keys()
        seen.homes = {id_: home for id_, home in seen.homes.items() if id_ in again}
        seen.others = {id_: home for id_, home in seen.others.items() if id_ in again}

    async def _list_machines(self, report: Report) -> list[Home] | None:
        """List our machines; None where nobody looks."""
        if not self._around.has_machines:
            return None
        claims, found = self._around.claims, list[Home]()
        for key, value in ((identity.DEPLOYMENT_TAG, claims.deployment), *claims.others_tags):
            filters = [tag_filter(key, value), LIVING_FILTER]
            listed = await report.attempt("machines", list_machines(self._around.ec2, filters))
            if listed is None:
                return None
            found += listed
        return found

    async def _describe_machines(self, machines: list[str]) -> list[Home]:
        """Describe machines by their ids, also those that have ended."""
        found: list[Home] = []
        for each in id_filters(machines):
            found += await list_machines(self._around.ec2, [each])
        return found

    # -- runners -----------------------------------------------------------------------------

    def _find_scopes(self, seen: Inventory) -> list[str]:
        urls = [*self._around.scopes]
        urls += [token.scope for token in seen.tokens]
        urls += [home.tags.get(identity.SCOPE_TAG, "") for home in seen.homes.values()]
        for launch, demand, written in seen.list_launches():
            if not launch.ended or seen.begun - written < RECENT:
                urls.append(self._around.hub.find_url(demand.repository))
        return list(dict.fromkeys(filter(None, urls)))

    async def _list_runners(self, seen: Inventory, url: str, report: Report) -> None:
        if not self._around.hub.knows(url):
            report.leave_out(f"runners of {url}", "it is another GitHub than LAUNCHER_GITHUB_URL")
            return

        async def work() -> list[github.Runner]:
            return await (await self._around.hub.runners(url)).list_all()

        runners = await report.attempt(f"runners of {url}", work())
        if runners is not None:
            seen.runners[url] = runners

    async def _find_owned(self, seen: Inventory, clusters: list[str], report: Report) -> None:
        """Find out of which tasks we know that they are, or were, ours."""
        self._known |= dict.fromkeys(seen.homes, seen.begun)
        self._known = {id_: at for id_, at in self._known.items() if seen.begun - at < DAY}
        seen.owned = self._known.keys() | seen.ledger.tasks.keys()
        seen.owned |= {identity.task_id(token.place) for token in seen.tokens}
        find = self._around.claims.find_task
        named = {find(each.name) for listed in seen.runners.values() for each in listed}
        gone = sorted(task for task in named if task is not None and seen.is_gone(task))
        tasks = [each for each in gone if each not in seen.owned and not identity.is_machine(each)]
        machines = [each for each in gone if each not in seen.owned and identity.is_machine(each)]
        if machines and self._around.has_machines:  # EC2 knows them for a while after their end
            listing = self._describe_machines(machines)
            self._note(seen, await report.attempt("machines that have ended", listing) or [])
        for cluster in clusters if tasks else ():
            listing = describe_tasks(self._around.ecs(cluster), cluster, tasks)
            self._note(seen, await report.attempt(f"stopped tasks of {cluster}", listing) or [])

    def _note(self, seen: Inventory, homes: Iterable[Home]) -> None:
        """Note which of these are ours; the next look needs it, and AWS forgets them soon."""
        ours = {home.id for home in homes if self._around.claims.owns(home)}
        seen.owned |= ours
        self._known |= dict.fromkeys(ours, seen.begun)


def _find_elsewhere(seen: Inventory) -> set[str]:
    launches = {
        launch.id for launch, demand, _ in seen.list_launches() if is_in_other_account(demand)
    }
    return {task for task, launch in seen.ledger.tasks.items() if launch in launches}


def _is_arn(place: str) -> bool:
    return ":task/" in place


def _name_cluster(text: str) -> str:
    """Return the name of a cluster, of its ARN, or of the ARN of one of its tasks."""
    if _is_arn(text):
        return text.rpartition(":task/")[2].partition("/")[0]
    return text.rpartition("/")[2]
