"""One storm's world: the models, the launcher's processes on them, and what goes on around."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import TYPE_CHECKING, Any
from unittest import mock

import aiohttp

from sidecar.aws.session import ServiceClient
from tests.storms import launching
from tests.storms.agent import Agents
from tests.storms.calls import Weather, loop_time
from tests.storms.clock import Process, start_outside
from tests.storms.ec2 import Ec2
from tests.storms.ecs import Ecs
from tests.storms.github import GitHub, Job
from tests.storms.hooks import Hooks
from tests.storms.plan import APP, STRANGER, Turn
from tests.storms.sqs import Sqs
from tests.storms.ssm import Ssm
from tests.storms.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from tests.storms.ecs import Task
    from tests.storms.github import Runner
    from tests.storms.machines import Machine
    from tests.storms.plan import Plan, Wanted

TICK = 60.0
REDRIVE = 1800.0
"""Seconds between two looks of the operator into the dead letters."""
LOOK = 30.0
"""Seconds between two looks whether all has come to rest."""


@contextlib.contextmanager
def reached(world: Any) -> Iterator[None]:
    """Let the launcher's clients reach the models of a world."""
    models = {"dynamodb": world.table, "sqs": world.sqs, "ssm": world.ssm, "ecs": world.ecs}
    models["ec2"] = getattr(world, "ec2", None)

    async def connect(client: Any) -> Any:
        return models[client._service.name]

    with (
        mock.patch.object(ServiceClient, "connect", connect),
        mock.patch.object(aiohttp, "ClientSession", world.github.session),
    ):
        yield


@contextlib.contextmanager
def out_of_reach() -> Iterator[None]:
    """Let no client reach anything: a `finally` that runs after a storm's end must not."""

    async def connect(client: Any) -> Any:
        raise ConnectionError(f"{client._service.name} is asked after the end of the storm")

    with mock.patch.object(ServiceClient, "connect", connect):
        yield


class World:
    """A storm's world."""

    quiet = 4
    """Looks at a world at rest until its storm is over."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = random.Random(f"world {plan.seed}")  # noqa: S311  chance, not secrecy
        self.weather = Weather(self.chance, plan.faults, outages=dict(plan.outages), calm=plan.calm)
        self.table = Table(self.weather)
        self.sqs = Sqs(self.weather, duplicates=plan.duplicates)
        self.ssm = Ssm(self.weather)
        self.ecs = Ecs(self.weather)
        self.ec2 = Ec2(self.weather)
        self.github = GitHub(self.weather)
        self.github.remaining = plan.remaining
        self.wrong: list[str] = []
        """What happened that may never happen."""
        agents = Agents(self.weather, self.ssm, self.github, launching.PREFIX, wrong=self.wrong)
        agents.mishaps = plan.mishaps
        self.agents = agents
        self.ecs.live = agents.live
        self.ecs.send_event = self.sqs.put
        self.ecs.started = self._check_task
        self.ecs.droughts = list(plan.droughts)
        self.ecs.broken = list(plan.broken)
        self._prepare_machines(agents)
        self.hooks = Hooks(self.weather, self._take, plan.hooks, plan.lost, plan.doubled, plan.late)
        self.github.deliver = self.hooks.deliver
        self.revision = 1
        self.admitted: list[Job] = []
        """The jobs that have to run, unless they are cancelled."""
        self.processes: list[Process] = []
        self._webhook: launching.Webhook | None = None
        self._webhook_process = Process("none")
        self._stories: set[asyncio.Task[Any]] = set()
        self._numbers = iter(range(1, 10_000))
        self._coming = 0

    def _prepare_machines(self, agents: Agents) -> None:
        self.ec2.live = agents.live
        self.ec2.lose = agents.lose
        self.ec2.send_event = self.sqs.put
        self.ec2.started = self._check_task
        self.ec2.droughts = self.plan.machines.droughts
        self.ec2.bad_ends = self.plan.machines.bad_ends
        self.ec2.fates = self.plan.machines.fates
        self.ec2.lost_events = self.plan.machines.lost_events

    @property
    def homes(self) -> list[Task | Machine]:
        """All tasks and machines that were ever started."""
        return [*self.ecs.tasks.values(), *self.ec2.machines.values()]

    # -- processes ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the storm until all has come to rest."""
        for number in range(self.plan.workers):
            self._start(self._keep_worker(number))
        self._start(self._keep_webhook())
        self._start(self._tick())
        self._start_operators()
        for wanted in self.plan.jobs:
            self._coming += 1
            self._start(self._live(wanted))
        for at in self.plan.reloads:
            self._start(self._at(at, self._reload))
        for at in self.plan.thieves:
            self._start(self._at(at, self._come_to_steal))
        await self._wait_for_rest()

    def _start_operators(self) -> None:
        """Let people mend what the launcher cannot mend itself."""
        self._start(self.hooks.operate(self.plan.resend))
        self._start(self._redrive())

    def _work(self, name: str) -> Coroutine[Any, Any, None]:
        """Be a worker."""
        return launching.work(self, name)

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        story = start_outside(work)
        self._stories.add(story)
        story.add_done_callback(self._end_story)

    def _end_story(self, story: asyncio.Task[Any]) -> None:
        self._stories.discard(story)
        if not story.cancelled() and (error := story.exception()) is not None:
            self.wrong.append(f"the storm itself fails: {error!r}")

    def _make_process(self, name: str) -> Process:
        steps = None
        if self.plan.deaths is not None and loop_time() < self.weather.calm:
            steps = max(1, int(self.chance.expovariate(1 / self.plan.deaths)))
        process = Process(f"{name}.{len(self.processes)}", steps)
        self.processes.append(process)
        return process

    async def _keep_worker(self, number: int) -> None:
        """Run a worker; after each death start another."""
        while True:
            process = self._make_process(f"worker-{number}")
            root = process.spawn(self._work(process.name))
            await self._wait_for_end(process, root)
            self.weather.note(f"{process.name} is killed")
            await asyncio.sleep(self.chance.uniform(0.1, 20))

    async def _keep_webhook(self) -> None:
        while True:
            process = self._webhook_process = self._make_process("webhook")
            self._webhook = launching.Webhook(self)
            await process.died.wait()
            self._webhook = None
            self.weather.note(f"{process.name} is killed")
            await asyncio.sleep(self.chance.uniform(0.1, 5))

    async def _wait_for_end(self, process: Process, root: asyncio.Task[Any]) -> None:
        died = asyncio.ensure_future(process.died.wait())
        await asyncio.wait({root, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if root.done() and not process.dead:
            self.wrong.append(f"{process.name} ends by itself: {root.exception()!r}")
            process.kill()

    async def _take(self, headers: dict[str, str], body: bytes) -> int | None:
        """Give a delivery to the webhook's process; None if it is not there, or dies."""
        webhook, process = self._webhook, self._webhook_process
        if webhook is None or process.dead:
            return None
        taken = process.spawn(webhook.take(headers, body))
        died = asyncio.ensure_future(process.died.wait())
        await asyncio.wait({taken, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        return taken.result() if taken.done() else None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if not any(body.get("kind") == "tick" for body in self.sqs.bodies()):
                self.sqs.put(json.dumps({"kind": "tick"}))

    async def _redrive(self) -> None:
        """Send the dead letters back, as an operator does whom the alarm has called."""
        while True:
            await asyncio.sleep(REDRIVE)
            self.sqs.redrive()

    # -- what people do ----------------------------------------------------------------------

    async def _at(self, seconds: float, act: Callable[[], None]) -> None:
        await asyncio.sleep(seconds)
        act()

    def _reload(self) -> None:
        self.revision += 1
        self.weather.note(f"pools: revision {self.revision}")

    def _come_to_steal(self) -> None:
        runner = self.github.add(
            "octo/app", f"thief-{next(self._numbers)}", ["self-hosted", "small"], just_in_time=False
        )
        runner.foreign = True
        self._start(self._steal(runner))

    async def _steal(self, runner: Runner) -> None:
        self.github.connect(runner)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1200):
                await runner.given.wait()
        if runner.job is not None:
            await asyncio.sleep(20)
            self.github.complete(runner.job, "success")
        self.github.remove(runner)

    async def _live(self, wanted: Wanted) -> None:
        await asyncio.sleep(wanted.at)
        job = self._make_job(wanted)
        await self._approve(job, wanted)
        if wanted.turn is not Turn.STRANGER:
            self.admitted.append(job)
        if wanted.turn is Turn.CANCEL:
            await asyncio.sleep(wanted.after)
            self.github.complete(job, "cancelled")
        if wanted.turn is Turn.RERUN:
            await self._rerun(job, wanted)
        if wanted.turn is Turn.STRANGER:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.plan.calm + 3600):
                    await job.done.wait()
            self.github.complete(job, "cancelled")
        self._coming -= 1

    async def _approve(self, job: Job, wanted: Wanted) -> None:
        """Queue a job; where its turn says so, it waits for its approval first, or in between."""
        if wanted.turn is not Turn.APPROVE:
            self.github.queue(job)
        if wanted.turn is Turn.RECONSIDER:
            await asyncio.sleep(min(wanted.after, 20))
        elif wanted.turn is not Turn.APPROVE:
            return
        if job.status == "queued":
            self.github.hold(job)
            await asyncio.sleep(wanted.after)
            self.github.queue(job)

    async def _rerun(self, job: Job, wanted: Wanted) -> None:
        async with asyncio.timeout(self.plan.longest):
            await job.done.wait()
        await asyncio.sleep(wanted.after)
        again = self._make_job(wanted, job.run, job.attempt + 1)
        self.admitted.append(again)
        self.github.queue(again)

    def _make_job(self, wanted: Wanted, run: int | None = None, attempt: int = 1) -> Job:
        number = next(self._numbers)
        first = 9000 if wanted.repository == APP else 50_000
        run = first + number // 3 if run is None else run
        job = Job(number, run, attempt, wanted.repository, wanted.labels, wanted.seconds)
        if wanted.turn is Turn.STRANGER:
            job.event, job.head, job.run = "pull_request", STRANGER, 20_000 + number
        return job

    # -- rest --------------------------------------------------------------------------------

    async def _wait_for_rest(self) -> None:
        quiet = 0
        while loop_time() < self.plan.longest and quiet < self.quiet:
            await asyncio.sleep(LOOK)
            quiet = quiet + 1 if self._is_at_rest() else 0

    def _is_at_rest(self) -> bool:
        if self._coming or self.hooks.busy or loop_time() < self.weather.calm:
            return False
        if self.sqs.dead or any(body.get("kind") != "tick" for body in self.sqs.bodies()):
            return False
        return all(home.status == "STOPPED" for home in self.homes)

    # -- what is checked at each step --------------------------------------------------------

    def _check_task(self, task: Task | Machine) -> None:
        """Note two living, free tasks for one job."""
        launch = launching.launch_of(task)
        for other in self.homes:
            if other is not task and launching.launch_of(other) == launch and self.is_free(other):
                self.wrong.append(
                    f"at {loop_time():.1f} s two living, free tasks for one job: "
                    f"{other.id[:8]} and {task.id[:8]}"
                )

    def is_free(self, task: Task | Machine) -> bool:
        """Whether a task may still serve the job that it was started for."""
        if not task.living:
            return False
        found = [it for it in self.github.runners.values() if it.name == task.runner]
        return not (found and found[0].job is not None)
