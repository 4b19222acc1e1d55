"""Sweep up ten thousand orphans, against the limits of SSM, ECS and GitHub.

`python -m bench.sweep [ORPHANS]` runs it on virtual time: the launcher's own sweep, while agents
read and delete their tokens beside it. Only the peers are models (`tests/storms`), which have the
limits of real ones.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench import limits
from bench.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage

KEY = "sweep_vs_limit"
SIZE, SEED = 10_000, "1"
RUNNERS_OF, TASKS_OF = 50, 200
"""Of so many orphans one is a runner at GitHub, or a task."""
AGENTS_DELETE, AGENTS_READ = 1.0, 20.0
"""Calls of the agents per second beside the sweep, as in a fleet."""
LEFT = limits.DELETES - AGENTS_DELETE
"""Calls that delete, per second, which they leave."""
DELETED, PAUSE = 10, 60.0
"""Parameters of one call, and seconds between two looks."""
LISTS, LOOKS, STOPS = 5.0, 20.0, 40.0
"""DescribeParameters, DescribeTasks, StopTask per second; of the first AWS documents no limit."""
REPOSITORY, TOKENS = "octo/app", "/runner-launcher/tokens"
ECS = "arn:aws:ecs:eu-central-1:123456789012:task/runners"


@dataclass
class Swept:
    """The outcome of a sweep; times are in seconds."""

    size: int
    seconds: float = 0.0
    """From the begin of the second look until all orphans are gone."""
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)

    @property
    def least(self) -> float:
        """Return the time for which SSM lets so many tokens be deleted beside the agents."""
        return self.size / DELETED / LEFT

    @property
    def vs_limit(self) -> float:
        """Return the time over that."""
        return self.seconds / self.least


class _World:
    """The models with their limits, and what is left in them."""

    def __init__(self, size: int) -> None:
        from tests.storms.calls import Weather
        from tests.storms.ec2 import Ec2
        from tests.storms.ecs import Ecs
        from tests.storms.github import GitHub
        from tests.storms.sqs import Sqs
        from tests.storms.ssm import Ssm
        from tests.storms.table import Table

        chance = random.Random(SEED)  # noqa: S311  chance, not secrecy
        self.weather = Weather(chance, latency=(0.01, 0.04), keeps_story=False)
        self.table, self.sqs = Table(self.weather), Sqs(self.weather)
        self.ssm, self.ecs, self.ec2 = Ssm(self.weather), Ecs(self.weather), Ec2(self.weather)
        self.github = GitHub(self.weather)
        self.size = size
        self._set_limits()
        self._plant()

    def _set_limits(self) -> None:
        shared, deletes = limits.Bucket(limits.READS), limits.Bucket(limits.DELETES)
        self.weather.buckets = {
            "ssm:GetParameter": shared,
            "ssm:PutParameter": shared,
            "ssm:DeleteParameter": deletes,
            "ssm:DeleteParameters": deletes,
            "ssm:DescribeParameters": limits.Bucket(LISTS),
            "ecs:DescribeTasks": limits.Bucket(LOOKS),
            "ecs:StopTask": limits.Bucket(STOPS),
        }
        points = limits.Window(limits.POINTS, 60.0)

        def limit(method: str) -> float:
            return points.take(limits.POST_POINTS if method in ("POST", "DELETE") else 1)

        self.github.limit = limit

    def _plant(self) -> None:
        from launcher.places.request import make_tags
        from launcher.tokens import describe_token
        from tests.storms.ecs import Task
        from tests.storms.ssm import Parameter

        url = f"https://github.com/{REPOSITORY}"
        tags = make_tags("default", "request", "launch", url)
        for number in range(self.size):
            task = f"{number:032x}"
            text = describe_token(f"{ECS}/{task}", url)
            parameter = Parameter("secret", dict(tags), 1, text, -600.0)
            self.ssm.parameters[f"{TOKENS}/{task}"] = parameter
            if number % RUNNERS_OF == 0:
                self.github.add(REPOSITORY, f"ecs-{task}-1", ["small"], just_in_time=True)
            if number % TASKS_OF == 1:
                listed = [{"key": key, "value": value} for key, value in tags.items()]
                request = {"cluster": "runners", "taskDefinition": "runner:1", "tags": listed}
                lost = Task(f"{ECS}/{task}", request, -7200.0, -7200.0, "RUNNING")
                self.ecs.tasks[task] = lost

    async def run(self) -> Swept:
        """Sweep twice, with the pause between."""
        from launcher.sweep.claims import Claims
        from launcher.sweep.sweeper import Sweeper
        from tests.storms.sweeping import open_around

        swept = Swept(self.size)
        claims, given = Claims("default", "ecs-", TOKENS), {"clusters": ("runners",)}
        beside = [
            asyncio.create_task(each) for each in (self._delete_tokens(), self._read_tokens())
        ]
        async with open_around(claims, **given) as around:
            assert around.records is not None  # noqa: S101
            sweeper = Sweeper(around, around.records.sweeps, PAUSE)
            await sweeper.sweep()
            await asyncio.sleep(PAUSE)
            begun = limits.now()
            await sweeper.sweep()
            swept.seconds = limits.now() - begun
        for each in beside:
            each.cancel()
        swept.calls, swept.refused = self.weather.counts, self.weather.refused
        swept.left = [
            *(name for name in self.ssm.parameters if "agents" not in name),
            *(runner.name for runner in self.github.runners.values()),
            *(task.arn for task in self.ecs.tasks.values() if task.living),
        ]
        return swept

    async def _delete_tokens(self) -> None:
        """Delete tokens as the agents of a fleet do."""
        from tests.storms.ssm import Parameter

        while True:
            self.ssm.parameters["/agents/one"] = Parameter("secret", {})
            await self._try(self.ssm.delete_parameter(Name="/agents/one"))
            await asyncio.sleep(1 / AGENTS_DELETE)

    async def _read_tokens(self) -> None:
        while True:
            await self._try(self.ssm.get_parameter(Name="/agents/none"))
            await asyncio.sleep(1 / AGENTS_READ)

    async def _try(self, call: Any) -> None:
        from botocore.exceptions import ClientError

        try:
            await call
        except ClientError:
            return


def run_sweep(size: int = SIZE) -> Swept:
    """Sweep up so many orphans."""
    from tests.storms import clock
    from tests.storms.world import reached

    async def whole() -> Swept:
        world = _World(size)
        with reached(world):
            return await world.run()

    found: Swept = clock.run(whole, SEED, random.Random(SEED))  # noqa: S311  chance, not secrecy
    return found


def check(swept: Swept) -> Swept:
    """Return it. Raises RuntimeError if anything is left, or a call was refused."""
    if swept.left:
        raise RuntimeError(f"{len(swept.left)} orphans are left, as {swept.left[0]}")
    if swept.refused:
        raise RuntimeError(f"calls were refused: {dict(swept.refused)}")
    return swept


def measure(_stage: Stage) -> Iterator[Figure]:
    """Measure the sweep; nothing real is started for it."""
    swept = check(run_sweep())
    floor = f"{swept.least:.0f} s (SSM's limit beside the agents)"
    parts = {"sweep_s": swept.seconds, "sweep_calls": float(sum(swept.calls.values()))}
    yield Figure(KEY, swept.vs_limit, f"{swept.seconds:.1f} s", floor, parts)


def main(arguments: list[str]) -> None:
    """Sweep, and print the figures."""
    swept = run_sweep(int(arguments[0]) if arguments else SIZE)
    print(f"{swept.size} orphans: {swept.seconds:.1f} s, {swept.vs_limit:.2f} of the limit")
    for call, times in sorted(swept.calls.items()):
        print(f"  {call:26} {times:8} calls, {swept.refused[call]} refused")
    print(f"  left: {len(swept.left)}")


if __name__ == "__main__":
    main(sys.argv[1:])
