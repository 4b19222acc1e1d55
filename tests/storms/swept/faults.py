"""Faults that somebody could build into the sweep, each with what a swept storm then shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from launcher.sweep import sweeper
from launcher.sweep.claims import Claims
from launcher.sweep.parameters import Parameters
from launcher.sweep.repairs.jobs import LostJobs
from launcher.sweep.rules.homes import Homes
from launcher.sweep.rules.runners import Runners
from launcher.sweep.rules.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Fault:
    """One fault of the sweep."""

    patch: Callable[[], Any]
    shown: tuple[str, ...]
    """Parts of what the verdict then says; one of them is enough."""


def _without(rule: type) -> Callable[[], Any]:
    rules = tuple(each for each in sweeper.RULES if each is not rule)
    return lambda: mock.patch.object(sweeper, "RULES", rules)


def _all_tasks_are_ours() -> Any:
    return mock.patch.object(Claims, "owns", return_value=True)


def _all_names_are_ours() -> Any:
    """Take each runner with our prefix for one of ours, whoever knows its task."""
    from launcher.sweep.stocktaking import Stocktaker

    find = Stocktaker._find_owned

    async def mutated(self: Any, seen: Any, clusters: Any, report: Any) -> None:
        await find(self, seen, clusters, report)
        names = [each.name for listed in seen.runners.values() for each in listed]
        seen.owned |= {self._around.claims.find_task(name) for name in names}

    return mock.patch.object(Stocktaker, "_find_owned", mutated)


def _all_parameters_are_ours() -> Any:
    """List all parameters below the path, whatever their tags."""
    list_tokens = Parameters.list_tokens

    async def mutated(self: Any, prefix: str, deployment: str | None) -> Any:
        del deployment
        return await list_tokens(self, prefix, None)

    return mock.patch.object(Parameters, "list_tokens", mutated)


def _busy_runners_are_not_spared() -> Any:
    """End what seems to be too old, whether its runner has a job or not."""

    def judge(_self: Any, _home: Any, _seen: Any, *, online: bool) -> str:
        del online
        return "it is there"

    async def remove(*_: Any) -> None:
        return None

    find = Homes.find

    def mutated(self: Any, seen: Any, report: Any) -> Any:
        with mock.patch.object(Homes, "_is_of", return_value=False):
            return find(self, seen, report)

    return mock.patch.multiple(Homes, _judge=judge, _remove_runners=remove, find=mutated)


def _jobs_are_not_sent() -> Any:
    async def mutated(*_: Any, **__: Any) -> None:
        return None

    return mock.patch.object(LostJobs, "repair", mutated)


FAULTS: dict[str, Fault] = {
    "tasks and machines are left": Fault(_without(Homes), ("task ", "machine ")),
    "runners are left": Fault(_without(Runners), ("runner storm-",)),
    "tokens are left": Fault(_without(Tokens), ("parameter ",)),
    "lost jobs are not sent again": Fault(_jobs_are_not_sent, ("is still queued", "is left")),
    "all tasks count as ours": Fault(_all_tasks_are_ours, ("which is not ours",)),
    "all names count as ours": Fault(_all_names_are_ours, ("which is not ours",)),
    "all parameters count as ours": Fault(_all_parameters_are_ours, ("which is not ours",)),
    "runners with jobs are not spared": Fault(_busy_runners_are_not_spared, ("whose runner has",)),
}
