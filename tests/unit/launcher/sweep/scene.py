"""A sweep among models of AWS and GitHub, on virtual time: what is left is planted."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.places.request import make_tags
from launcher.pools.document import parse_pools
from launcher.record.launch import Launch
from launcher.record.records import Records, make_client
from launcher.sweep.around import Limits
from launcher.sweep.claims import Claims
from launcher.sweep.findings import Outcome
from launcher.sweep.marks import MemoryMarks
from launcher.sweep.sweeper import Sweeper
from launcher.tokens import describe_token
from launcher.work.queued import launch_id
from tests.storms import clock, sweeping
from tests.storms.calls import Weather, loop_time
from tests.storms.ec2 import Ec2 as Ec2Model
from tests.storms.ecs import PREFIX as ECS
from tests.storms.ecs import Ecs, Task
from tests.storms.github import GitHub
from tests.storms.machines import Fate, Machine
from tests.storms.sqs import Sqs
from tests.storms.ssm import Parameter, Ssm
from tests.storms.table import Table
from tests.storms.world import reached

TOKENS = "/runner-launcher/tokens"
REPOSITORY = "octo/app"
URL = f"https://github.com/{REPOSITORY}"
QUEUE, REGION = sweeping.QUEUE, sweeping.REGION
PAUSE = 60.0
POOLS = """
[[pool]]
name = "small"
labels = ["small"]
task_definition = "runner"
cluster = "runners"
launch_type = "FARGATE"
subnets = ["subnet-0a1b2c3d"]
boot_limit = "5m"
life_limit = "2h"

[[pool]]
name = "machines"
place = "ec2"
labels = ["machine"]
launch_template = "runner"
"""
CLUSTERS = ("runners",)
OURS = Claims("default", "ecs-", TOKENS)


class Scene:
    """The models, and what is planted in them."""

    def __init__(self):
        self.chance = random.Random(1)  # noqa: S311  chance, not secrecy
        self.weather = Weather(self.chance)
        self.table, self.sqs = Table(self.weather), Sqs(self.weather)
        self.ssm, self.ecs, self.ec2 = Ssm(self.weather), Ecs(self.weather), Ec2Model(self.weather)
        self.github = GitHub(self.weather)
        self.records = self.client = None
        self._numbers = iter(range(1, 10_000))

    # -- what is planted ---------------------------------------------------------------------

    def add_task(self, *, deployment="default", age=0.0, cluster="runners", tags=None, **more):
        """Add a task that lives; return it."""
        number = f"{next(self._numbers):032x}"
        own = make_tags(deployment, "request", "launch", URL) if tags is None else tags
        request = {
            "cluster": cluster,
            "taskDefinition": "runner:1",
            "startedBy": "runner-launcher/request" if tags is None else "somebody",
            "tags": [{"key": key, "value": value} for key, value in own.items()],
            **more,
        }
        began = loop_time() - age
        task = Task(f"{ECS}:task/{cluster}/{number}", request, began, began, "RUNNING")
        self.ecs.tasks[task.id] = task
        return task

    def end_task(self, task, code="EssentialContainerExited"):
        """End a task."""
        task.stop(code, "it has ended")
        task.status, task.stopped = "STOPPED", loop_time()

    def add_machine(self, *, age=0.0, state="running", deployment="default"):
        """Add a machine."""
        number = f"i-{next(self._numbers):017x}"
        tags = make_tags(deployment, "request", "launch", URL)
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        request = {"TagSpecifications": [{"ResourceType": "instance", "Tags": listed}]}
        began = loop_time() - age
        machine = Machine(number, request, "spot", began, began, 3600.0, Fate.GOOD, state)
        self.ec2.machines[number] = machine
        return machine

    def add_token(self, place, *, age=0.0, deployment="default", name=None, described=True):
        """Add a token's parameter; return its name."""
        name = name or identity.parameter_name(TOKENS, place)
        tags = {identity.DEPLOYMENT_TAG: deployment} if deployment else {}
        text = describe_token(place, URL) if described else ""
        self.ssm.parameters[name] = Parameter("secret", tags, 1, text, loop_time() - age)
        return name

    def add_runner(self, name, *, online=False, repository=REPOSITORY):
        """Register a runner; return it."""
        runner = self.github.add(repository, name, ["small"], just_in_time=True)
        runner.online = online
        return runner

    def add_runner_of(self, home, generation=1, **more):
        """Register a runner of a task or machine."""
        return self.add_runner(identity.runner_name("ecs-", home.id, generation), **more)

    async def add_launch(self, number=1, *, pool="small", place=None, **more):
        """Write the record of a job's launch; return it."""
        demand = make_demand(number, order=more.pop("order", None))
        id_ = launch_id("default", demand)
        launch = Launch(id_, pool, demand.to_json(), self.now())
        launch = await self.records.release(replace(launch, place=place, **more))
        if place is not None:
            await self.records.index(identity.task_id(place), id_)
        return launch

    def now(self):
        """Return the time."""
        return clock.now()

    # -- what is left ------------------------------------------------------------------------

    @property
    def runners(self):
        """Return the names of all runners."""
        return sorted(runner.name for runner in self.github.runners.values())

    @property
    def messages(self):
        """Return the bodies of the queue's messages."""
        return self.sqs.bodies()


def make_demand(number=1, **more):
    """Make the demand of a job."""
    known = {
        "action": "queued",
        "delivery": "d",
        "repository": REPOSITORY,
        "repository_id": 7,
        "organization": "octo",
        "enterprise": None,
        "installation": None,
        "job_id": number,
        "run_id": 100 + number,
        "run_attempt": 1,
        "labels": ("self-hosted", "small"),
    }
    return Demand(**{**known, **more})


@asynccontextmanager
async def open_around(scene, *, pools=POOLS, scopes=(URL,), claims=OURS, **more):
    """Open what a sweep works with, among the models."""
    loaded = parse_pools(pools) if pools else None
    given = {
        "clusters": CLUSTERS,
        "scopes": scopes,
        "pools": (lambda: loaded) if loaded else None,
        "limits": Limits(1800.0, None),
        **more,
    }
    async with make_client(REGION) as client, sweeping.open_around(claims, **given) as around:
        scene.client = client
        scene.records = Records(client, sweeping.TABLE, "w", now=clock.now)
        yield around


def play(story, *, repairs=lambda _: (), in_table=False, dry_run=False, **more):
    """Play a story with a scene and its sweepers, on virtual time.

    `repairs` makes them; `in_table`: looks are remembered in the table.
    """

    async def whole():
        scene = Scene()
        with reached(scene):
            async with open_around(scene, **more) as around:

                def make():
                    """Make a sweeper, as another process has it."""
                    records = Records(scene.client, "launches", "w", now=clock.now)
                    marks = records.sweeps if in_table else MemoryMarks()
                    return Sweeper(around, marks, PAUSE, repairs(around), dry_run=dry_run)

                given = {"scene": scene, "around": around, "make": make, "sweeper": make()}
                return await story(SimpleNamespace(**given))

    return clock.run(whole, "1", random.Random(1))  # noqa: S311  chance, not secrecy


def results(report, outcome=Outcome.REMOVED):
    """Return kind and name of what has this outcome."""
    found = [each.finding for each in report.results if each.outcome is outcome]
    return {(finding.kind, finding.name) for finding in found}


async def sweep_twice(stage):
    """Sweep twice, with a pause; return the second report. The first one ends nothing."""
    first = await stage.sweeper.sweep()
    assert first.count(Outcome.REMOVED) == 0
    await pass_time(PAUSE)
    return await stage.sweeper.sweep()


async def pass_time(seconds):
    """Let virtual time pass; no real time does."""
    await asyncio.sleep(seconds)
