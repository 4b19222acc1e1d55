"""Queue ten thousand jobs in one minute, against the limits of ECS, SSM and GitHub.

`python -m bench.launch_fleet [JOBS]` runs it on virtual time: the launcher's own webhook, queue,
worker and retry policies, and the agent's own code that waits for its token. Only the peers are
models (`tests/storms`), which have the limits of real ones. With fewer jobs, all that is counted
per second or hour is as many times smaller: limits, rates of the launcher, messages at a time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench import limits
from bench.figure import Figure
from bench.fleet import ParameterStore
from sidecar import tokens
from sidecar.shutdown import cleanup
from sidecar.shutdown.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Stage
    from launcher.work import Rates
    from tests.storms.ecs import Task
    from tests.storms.github import Job, Runner

KEY, CALLS_KEY = "launch_fleet_vs_limit", "github_calls_per_job"
SIZE, SEED = 10_000, "1"
MEASURED = 1000
"""Jobs of the figure, with all rates a tenth: ten thousand take minutes to compute."""
JOBS_OF_RUN = 100
WITHIN = 60.0
"""Seconds in which all jobs are queued."""
STARTS, LOOKS, STOPS = 20.0, 20.0, 40.0
"""ECS's calls per second: RunTask, DescribeTasks, StopTask (its documented sustained rates)."""
TOKEN_TIMEOUT, STOP_TIMEOUT = 300.0, 30.0
JOB = 60.0
WORKERS, BESIDE = 20, 10
"""Copies of the worker's function, and messages that each handles at the same time."""
LONGEST = 3 * 3600.0
TICK = 60.0
"""Seconds between two ticks of the schedule."""
REPOSITORY = "octo/app"
KINDS = {"registration": ("self-hosted", "large"), "just-in-time": ("self-hosted", "small")}
"""The labels of the pool with this kind of token."""


@dataclass
class Fleet:
    """The starts and ends of all jobs; times in seconds since the first was queued."""

    size: int
    scale: float = 1.0
    """By how much all rates are smaller, as a fraction."""
    placed: list[float] = field(default_factory=list)
    """The times at which RunTask had started a task."""
    online: list[float] = field(default_factory=list)
    """The times at which a runner was online."""
    done: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    github: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def start_vs_limit(self) -> float:
        """The last start, over the time in which RunTask lets so many tasks be started."""
        return max(self.placed) / (self.size / STARTS / self.scale)

    @property
    def calls_per_job(self) -> float:
        """The launcher's calls of GitHub, for each job."""
        return sum(self.github.values()) / self.size


class _World:
    """The models that `tests.storms.launching` needs."""

    def __init__(self, size: int, kind: str, scale: float) -> None:
        from tests.storms import launching
        from tests.storms.calls import Weather
        from tests.storms.ecs import Ecs
        from tests.storms.github import GitHub
        from tests.storms.plan import make_plan
        from tests.storms.sqs import Sqs
        from tests.storms.ssm import Ssm
        from tests.storms.table import Table

        self.fleet = Fleet(size, scale)
        self.plan = make_plan("fleet", maximum=10_000)
        self.revision = 1
        self.chance = random.Random(SEED)  # noqa: S311  chance, not secrecy
        self.weather = Weather(self.chance, latency=(0.01, 0.04), keeps_story=False)
        self.table, self.sqs = Table(self.weather), Sqs(self.weather)
        self.ssm, self.ecs = Ssm(self.weather), Ecs(self.weather)
        self.github = GitHub(self.weather)
        self.ecs.boot = (20.0, 40.0)
        self.ecs.live = self._live
        self.ecs.started = lambda _: self.fleet.placed.append(limits.now())
        self.ecs.send_event = self.sqs.put
        self.github.deliver = self._deliver
        self.github.make_blob = _make_blob
        self._labels = KINDS[kind]
        self._webhook = launching.Webhook(self)  # type: ignore[arg-type]
        self._started: set[asyncio.Task[Any]] = set()
        self._set_limits()

    def _set_limits(self) -> None:
        from tests.storms import clock

        scale = self.fleet.scale
        shared, deletes = limits.Bucket(limits.READS * scale), limits.Bucket(limits.DELETES * scale)
        self.weather.buckets = {
            "ecs:RunTask": limits.Bucket(STARTS * scale),
            "ecs:DescribeTasks": limits.Bucket(LOOKS * scale),
            "ecs:StopTask": limits.Bucket(STOPS * scale),
            "ssm:GetParameter": shared,
            "ssm:PutParameter": shared,
            "ssm:DeleteParameter": deletes,
            "ssm:DeleteParameters": deletes,
        }
        requests = limits.Window(round(limits.REQUESTS * scale), limits.HOUR)
        points = limits.Window(round(limits.POINTS * scale), 60.0)

        def limit(method: str) -> float:
            cost = limits.POST_POINTS if method == "POST" else 1
            pause = max(points.take(cost), requests.take(1))
            self.github.remaining = round(5000 * requests.left / (limits.REQUESTS * scale))
            self.github.resets_at = clock.EPOCH + requests.until
            return pause

        self.github.limit = limit

    # -- what happens ------------------------------------------------------------------------

    async def run(self) -> Fleet:
        from tests.storms import launching

        scale = self.fleet.scale
        workers = [
            self._start(
                launching.work(
                    self,  # type: ignore[arg-type]
                    f"worker-{number}",
                    _scale(scale),
                    BESIDE,
                )
            )
            for number in range(max(1, round(WORKERS * scale)))
        ]
        for number in range(self.fleet.size):
            self._start(self._queue(number))
        ticks = self._start(self._tick())
        while not self._is_over() and limits.now() < LONGEST:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(5)
        for each in (ticks, *workers):
            each.cancel()
        self._sum_up()
        return self.fleet

    def _start(self, work: Any) -> asyncio.Task[Any]:
        started: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._started.add(started)
        started.add_done_callback(self._started.discard)
        return started

    def _is_over(self) -> bool:
        if len(self.github.jobs) < self.fleet.size or self.sqs.held or self.ssm.parameters:
            return False
        return all(task.status == "STOPPED" for task in self.ecs.tasks.values())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.sqs.put('{"kind":"tick"}')

    async def _queue(self, number: int) -> None:
        from tests.storms.github import Job

        await asyncio.sleep(self.chance.uniform(0, WITHIN))
        run = 1 + number // JOBS_OF_RUN
        self.github.queue(Job(10**6 + number, run, 1, REPOSITORY, self._labels, JOB))

    def _deliver(self, action: str, job: Job) -> None:
        from tests.storms.hooks import make_delivery

        delivery = make_delivery(action, job, len(self._started))
        self._start(self._webhook.take(delivery.headers, delivery.body))

    async def _live(self, task: Task) -> int:
        """Live as an agent does, with its own code for its token."""
        from tests.storms import launching
        from tests.storms.agent import read_variables

        stop, stack = Stop(STOP_TIMEOUT), cleanup.CleanupStack()
        try:
            async with ParameterStore(self.ssm) as store, cleanup.run_cleanup(stack, stop):  # type: ignore[arg-type]
                name = f"{launching.PREFIX}/{task.id}"
                key = read_variables(task).get("SIDECAR_TOKEN_KEY")
                parameter = tokens.claim_parameter(store, name, stack, for_task=True, key=key)
                token = await parameter.wait(TOKEN_TIMEOUT)
                runner = self._register(token)
                task.runner = runner.name
                parameter.delete_soon()
                self.github.connect(runner)
                self.fleet.online.append(limits.now())
                await self._work(runner)
        except Exception as error:  # noqa: BLE001  any failure counts
            self.fleet.wrong.append(f"an agent fails: {error}")
            return 12
        return 0

    def _register(self, token: tokens.RegistrationToken) -> Runner:
        if token.runner_id is not None:
            return self.github.runners[token.runner_id]
        runner = self.github.register(token.token or "", token.name or "", list(token.labels))
        if runner is None:
            raise RuntimeError("GitHub refuses the registration")
        return runner

    async def _work(self, runner: Runner) -> None:
        async with asyncio.timeout(300):
            await runner.given.wait()
        await asyncio.sleep(JOB)
        if runner.job is not None:
            self.github.complete(runner.job, "success")

    def _sum_up(self) -> None:
        fleet = self.fleet
        fleet.done = sum(job.conclusion == "success" for job in self.github.jobs.values())
        fleet.calls, fleet.refused = self.weather.counts, self.weather.refused
        fleet.github = self.github.calls
        if lost := fleet.size - fleet.done:
            fleet.wrong.append(f"{lost} of {fleet.size} jobs never ran")
        if fleet.done and self.ssm.parameters:
            fleet.wrong.append(f"{len(self.ssm.parameters)} parameters are left")
        fleet.wrong += [f"dead letter: {held.body[:200]}" for held in self.sqs.dead[:3]]


def _make_blob(runner: Runner) -> str:
    """Make a just-in-time configuration that the agent's own code can read."""
    files = {".runner": json.dumps({"AgentId": str(runner.id), "AgentName": runner.name})}
    files |= {".credentials": "{}", ".credentials_rsaparams": "{}"}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    return base64.b64encode(json.dumps(encoded).encode()).decode()


def _scale(scale: float) -> Rates:
    """Return the launcher's rates, as many times smaller."""
    from launcher.work import Rates

    found = asdict(Rates())
    bursts = {name: max(1.0, value * scale) for name, value in found.items() if "burst" in name}
    return Rates(**{name: value * scale for name, value in found.items()} | bursts)


def run_fleet(size: int = SIZE, kind: str = "registration", scale: float | None = None) -> Fleet:
    """Run the fleet; `kind` is that of its tokens. Rates are scaled with size, or by `scale`."""
    from tests.storms import clock
    from tests.storms.world import reached

    async def whole() -> Fleet:
        world = _World(size, kind, size / SIZE if scale is None else scale)
        with reached(world):
            return await world.run()

    ids = random.Random(SEED)  # noqa: S311  chance, not secrecy
    found: Fleet = clock.run(whole, SEED, ids)
    return found


def check(fleet: Fleet) -> Fleet:
    """Return the fleet. Raises RuntimeError if a job was lost, or anything is left."""
    if fleet.wrong:
        raise RuntimeError(f"{len(fleet.wrong)} wrong, one: {fleet.wrong[0]}")
    return fleet


def measure(_stage: Stage) -> Iterator[Figure]:
    """Measure the fleet; nothing real is started for it."""
    fleet = check(run_fleet(MEASURED))
    last, least = max(fleet.placed), fleet.size / STARTS / fleet.scale
    parts = {
        "launch_fleet_last_start_s": last,
        "launch_fleet_last_online_s": max(fleet.online),
        "launch_fleet_run_task_calls_per_job": fleet.calls["ecs:RunTask"] / fleet.size,
    }
    floor = f"{least:.0f} s (RunTask's limit)"
    yield Figure(KEY, fleet.start_vs_limit, f"{last:.1f} s", floor, parts)
    calls = fleet.calls_per_job
    yield Figure(CALLS_KEY, calls, f"{sum(fleet.github.values())} calls", f"{fleet.size} jobs", {})


def main(arguments: list[str]) -> None:
    """Run the fleet with each kind of token, and print its figures."""
    size = int(arguments[0]) if arguments else SIZE
    for kind in arguments[1:] or KINDS:
        fleet = run_fleet(size, kind)
        print(f"{kind}: {fleet.done} of {fleet.size} jobs ran")
        print(
            f"  last task started   {max(fleet.placed):8.1f} s, {fleet.start_vs_limit:.2f} of limit"
        )
        print(f"  last runner online  {max(fleet.online, default=0):8.1f} s")
        print(f"  GitHub's calls/job  {fleet.calls_per_job:8.3f}  {dict(fleet.github)}")
        for call, times in sorted(fleet.calls.items()):
            print(f"  {call:26} {times:8} calls, {fleet.refused[call]} refused")
        print(f"  github refused {fleet.refused['github']}")
        for line in fleet.wrong[:5]:
            print(f"  WRONG {line}")


if __name__ == "__main__":
    main(sys.argv[1:])
