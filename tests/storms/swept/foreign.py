"""Plant what is not ours before a storm, and watch that nobody ends or changes it."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.storms.calls import loop_time
from tests.storms.clock import find_process
from tests.storms.ecs import PREFIX as ECS
from tests.storms.ecs import Task
from tests.storms.github import QUEUED, Job
from tests.storms.launching import DEPLOYMENT, NAME_PREFIX, PREFIX
from tests.storms.machines import Fate, Machine
from tests.storms.plan import APP
from tests.storms.ssm import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storms.github import Runner
    from tests.storms.world import World

OLD = 3 * 86_400.0
"""Seconds since when all of it has been there: longer than any limit."""
TAG = "runner-launcher:deployment"
SWEEP = "sweep"
"""The beginning of the names of the processes that sweep."""
OTHERS: tuple[dict[str, str], ...] = (
    {},
    {"Name": "web"},
    {TAG: "other", "runner-launcher:scope": f"https://github.com/{APP}"},
    {TAG: f"{DEPLOYMENT}2", "runner-launcher:launch": "launch"},
    {TAG: ""},
)
"""Tags of what is not ours; the last but two are another deployment's of the same launcher."""
_RUNNER = re.compile(r"/actions/runners/(\d+)$")


@dataclass
class Foreign:
    """What is not ours, by its kind."""

    tasks: dict[str, Task] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    runners: dict[int, Runner] = field(default_factory=dict)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    job: Job | None = None

    def snapshot(self, world: World) -> dict[str, Any]:
        """Return all of it as it is now, as text."""
        held = {
            "task": {id_: world.ecs.tasks[id_].describe() for id_ in self.tasks},
            "machine": {id_: world.ec2.machines[id_].describe() for id_ in self.machines},
            "runner": {id_: str(world.github.runners.get(id_)) for id_ in self.runners},
            "parameter": {name: world.ssm.parameters.get(name) for name in self.parameters},
            "item": {key: world.table.items.get(key) for key in self.items},
            "job": {0: self.job.status if self.job else ""},
        }
        return {
            f"{kind} {name}": copy.deepcopy(it)
            for kind, all_ in held.items()
            for name, it in all_.items()
        }


def plant(world: World) -> Foreign:
    """Plant tasks, machines, runners, parameters, an item of the table and a job."""
    foreign = Foreign()
    for number, tags in enumerate(OTHERS):
        _plant_task(world, foreign, tags, ("default", "runners")[number % 2])
        _plant_machine(world, foreign, tags, "stopped" if number == 1 else "running")
        name = f"{PREFIX}/{number + 0xF0:032x}"
        foreign.parameters[name] = Parameter("theirs", tags, written=loop_time() - OLD)
    away = {f"{PREFIX}2/{1:032x}", f"{PREFIX}/nested/{1:032x}", "/theirs/password"}
    foreign.parameters |= {name: Parameter("theirs", {}, written=-OLD) for name in away}
    world.ssm.parameters |= foreign.parameters
    _plant_runners(world, foreign)
    foreign.items["theirs#1"] = {"id": {"S": "theirs#1"}, "kept": {"S": "yes"}}
    world.table.items |= copy.deepcopy(foreign.items)
    foreign.job = Job(9_999, 99_999, 1, APP, ("self-hosted", "theirs"), 1.0, status=QUEUED)
    world.github.jobs[foreign.job.id] = foreign.job
    return foreign


def _plant_task(world: World, foreign: Foreign, tags: dict[str, str], cluster: str) -> None:
    number = len(foreign.tasks)
    request = {
        "cluster": cluster,
        "taskDefinition": "web:1",
        # Without tags its request looks like ours, but for the path of its parameter.
        "startedBy": "" if number else "runner-launcher/0123",
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "overrides": {
            "containerOverrides": [
                {
                    "name": "runner",
                    "environment": [
                        {"name": "SIDECAR_TOKEN_PARAMETER", "value": f"{PREFIX}2/{number}"},
                        {"name": "SIDECAR_LIFETIME_LIMIT", "value": "60"},
                    ],
                }
            ]
        },
    }
    began = loop_time() - OLD
    id_ = f"{number + 0xF0:032x}"
    task = Task(f"{ECS}:task/{cluster}/{id_}", request, began, began, "RUNNING")
    world.ecs.tasks[id_] = foreign.tasks[id_] = task


def _plant_machine(world: World, foreign: Foreign, tags: dict[str, str], state: str) -> None:
    id_ = f"i-{len(foreign.machines) + 0xF0:017x}"
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    request = {"TagSpecifications": [{"ResourceType": "instance", "Tags": listed}]}
    began = loop_time() - OLD
    machine = Machine(id_, request, "on-demand", began, began, OLD, Fate.GOOD, state)
    world.ec2.machines[id_] = foreign.machines[id_] = machine


def _plant_runners(world: World, foreign: Foreign) -> None:
    living = next(iter(foreign.tasks))
    names = (
        "theirs-1",
        f"{NAME_PREFIX}build-server",
        f"{NAME_PREFIX}{0xE0:032x}-1",  # another deployment's, with our prefix; its task is gone
        f"{NAME_PREFIX}i-{0xE0:017x}-1",
        f"{NAME_PREFIX}{living}-1",
        f"{NAME_PREFIX[:-1]}x-{0xE1:032x}-1",
    )
    for name in names:
        for online in (False, True):
            full = name if not online else f"{name}0"
            runner = world.github.add(APP, full, ["self-hosted", "theirs"], just_in_time=False)
            runner.foreign, runner.online = True, online
            runner.ephemeral = "server" not in name
            foreign.runners[runner.id] = runner


class Watch:
    """Watches each call that ends something: none may name what is not ours.

    Of the sweep's calls none may end the task or machine of a runner that has a job.
    """

    def __init__(self, world: World, foreign: Foreign) -> None:
        self._world, self._foreign = world, foreign
        self.ended: set[str] = set()
        """The ids of tasks and machines that a sweep has ended."""
        guard = self._guard
        ecs, ec2, ssm, table = world.ecs, world.ec2, world.ssm, world.table
        guard(ecs, "stop_task", lambda it: [it["task"].rpartition("/")[2]], self._check_home)
        guard(ec2, "terminate_instances", lambda it: it["InstanceIds"], self._check_home)
        guard(ssm, "delete_parameter", lambda it: [it["Name"]], self._check_parameter)
        guard(ssm, "delete_parameters", lambda it: it["Names"], self._check_parameter)
        guard(ssm, "put_parameter", lambda it: [it["Name"]], self._check_parameter)
        guard(table, "delete_item", lambda it: [it["Key"]["id"]["S"]], self._check_item)
        guard(table, "update_item", lambda it: [it["Key"]["id"]["S"]], self._check_item)
        self._answer = world.github.answer
        world.github.answer = self._check_request  # type: ignore[method-assign]
        world.agents.cut = self._check_cut

    def _guard(
        self,
        service: Any,
        operation: str,
        read: Callable[[dict[str, Any]], list[str]],
        check: Callable[[str], None],
    ) -> None:
        act = getattr(service, operation)

        async def guarded(**given: Any) -> Any:
            for name in read(given):
                check(name)
            return await act(**given)

        setattr(service, operation, guarded)

    def _say(self, what: str) -> None:
        self._world.wrong.append(f"at {loop_time():.1f} s {find_process()} {what}")

    def _check_home(self, id_: str) -> None:
        if id_ in self._foreign.tasks or id_ in self._foreign.machines:
            self._say(f"ends {id_}, which is not ours")
        if not find_process().startswith(SWEEP):
            return
        self.ended.add(id_)
        home = self._world.ecs.tasks.get(id_) or self._world.ec2.machines.get(id_)
        for runner in self._world.github.runners.values():
            if home is not None and runner.name == home.runner and runner.job is not None:
                self._say(f"ends {id_}, whose runner has job {runner.job.id}")

    def _check_parameter(self, name: str) -> None:
        if name in self._foreign.parameters:
            self._say(f"changes {name}, which is not ours")

    def _check_item(self, key: str) -> None:
        if key in self._foreign.items:
            self._say(f"changes the item {key}, which is not ours")

    def _check_request(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        found = _RUNNER.search(urlsplit(url).path)
        if method == "DELETE" and found is not None:
            runner = self._world.github.runners.get(int(found[1]))
            if runner is not None and runner.foreign:
                self._say(f"removes the runner {runner.name}, which is not ours")
        return self._answer(method, url, body)

    def _check_cut(self, home: Any) -> None:
        if home.id in self.ended:
            self._world.wrong.append(f"the sweep has cut off the job of {home.id}")
