"""A storm's stage, the launcher's processes on it that die, and what people do meanwhile."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from local import aws, ecs, faults, leftovers
from local.faults import Applied, Rule
from tests.launches.stage import POOLS, Stage
from tests.storms.real.plan import Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from local.agent import AgentProcess
    from local.github.jobs import Job
    from local.github.webhooks import Delivery, Hook
    from tests.storms.real.plan import Death, Life, Plan, Wanted

SOON = 1.0
"""Seconds after which what should come first is not waited for any more."""
PAUSE = 1.5
"""Seconds until the launcher's owner has failed deliveries sent again."""
HELD_BACK = 40
"""Half seconds for which tasks are held back, at most."""
LONGEST = 3600.0
"""Seconds of a wait that something else bounds."""
STEP, SPEED = 0.2, 15.0
"""Seconds between two steps of the queue's time, and how much faster than ours it goes."""
REVISION = "runner:2"


class World:
    """One storm's world."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self.stage = stage
        self.plan = plan
        self.jobs: list[Job] = []
        """The jobs that were queued."""
        self.marks = stage.folder / "ran"
        """The file to which each job writes its name when it runs."""
        self.killed = 0
        """How many processes were killed."""
        self.notes: list[tuple[float, str]] = []
        """When the storm itself did what."""
        self.wrong: list[str] = []
        """What happened that may never happen."""
        self._chance = random.Random(f"world {plan.seed}")  # noqa: S311  chance, not secrecy
        self._hooks: list[Hook] = []
        self._webhook_runs = asyncio.Event()

    # -- what goes wrong without a process ---------------------------------------------------

    def prepare(self) -> None:
        """Prepare what goes wrong."""
        plane, world = self.stage.ecs, self.stage.github.world
        plane.definitions.append(ecs.TaskDefinition(revision=2))
        plane.droughts = [replace(drought) for drought in self.plan.droughts]
        plane.failing_starts = list(self.plan.failing_starts)
        plane.events.lose = lambda _: self._chance.random() < self.plan.events_lost
        plane.events.repeat = lambda _: self._chance.random() < self.plan.events_doubled
        if self.plan.held_back:
            plane.may_run.clear()
        self._write_pools("runner:1")
        for fault in self.plan.github:
            world.faults.add(fault)

    def _write_pools(self, definition: str) -> None:
        changed = POOLS.replace("runner:1", definition)
        changed = changed.replace("maximum = 50", f"maximum = {self.plan.maximum}")
        self.stage.pools.write_text(changed, encoding="utf-8")

    # -- processes ---------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep workers and webhook alive for the block, and let the queue's time pass."""
        keepers = [
            *(self._keep_worker(lives) for lives in self.plan.workers),
            self._keep_webhook(),
            self._pass_time(),
        ]
        tasks = [asyncio.create_task(self._note_failure(keeper)) for keeper in keepers]
        try:
            await self._webhook_runs.wait()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _note_failure(self, keeper: Any) -> None:
        try:
            await keeper
        except Exception as error:  # noqa: BLE001  it must not hide what else goes wrong
            self.wrong.append(f"the storm itself fails: {error!r}")

    async def _keep_worker(self, lives: tuple[Life, ...]) -> None:
        """Run a worker; after each death start another."""
        for life in lives:
            async with self._own_stage(life) as (stage, death), stage.worker() as process:
                await self._wait_for_end(process, death)
            # What the dead one held comes free, as it does by itself after a minute.
            await asyncio.to_thread(aws.end_leases, self.stage.moto, pid=process.pid)

    async def _keep_webhook(self) -> None:
        """Run the webhook; after its death start another, and have GitHub send to that one."""
        for life in self.plan.webhook:
            async with (
                self._own_stage(life) as (stage, death),
                stage.webhook(told=False) as process,
            ):
                started = await process.wait_for_event("service.started")
                self._tell_github(f"{started['address']}/webhook")
                await self._wait_for_end(process, death)
                self._webhook_runs.clear()

    @asynccontextmanager
    async def _own_stage(self, life: Life) -> AsyncIterator[tuple[Stage, asyncio.Task[None]]]:
        """Give a process its own proxies before AWS: what goes wrong there is for it alone.

        The task ends when its death comes.
        """
        async with AsyncExitStack() as stack:
            ssm = await stack.enter_async_context(faults.serving(self.stage.moto))
            front = await stack.enter_async_context(faults.serving(self.stage.ecs.url))
            coming = [_order_death(proxy, life.death) for proxy in (ssm, front)]
            death = asyncio.create_task(_wait_for_first(coming))
            stack.callback(death.cancel)
            for proxy in (ssm, front):
                proxy.add(*life.rules)
            yield self.stage.behind(ssm, front), death

    async def _wait_for_end(self, process: AgentProcess, death: asyncio.Task[None]) -> None:
        """Kill the process when its death comes. That it ends by itself is wrong."""
        ended = asyncio.create_task(process.process.wait())
        try:
            await asyncio.wait({ended, death}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self.wrong.append(f"{process.argv[-1]} ends by itself: {process.transcript()}")
                return
            process.signal(signal.SIGKILL)
            self.note(f"kills {process.argv[-1]} {self.stage.launchers.index(process)}")
            await process.wait_for_end()
            self.killed += 1
        finally:
            ended.cancel()

    def _tell_github(self, url: str) -> None:
        if not self._hooks:
            self._hooks = [self.stage.add_hook(url) for _ in range(self.plan.hooks)]
            for kind, action, skip in self.plan.disturbances:
                self.stage.github.world.hooks.disturb(kind, action, skip=skip)
        for hook in self._hooks:
            hook.url = url
        self._webhook_runs.set()

    async def _pass_time(self) -> None:
        """Let the time of what is put off pass faster than ours: nobody here waits for minutes."""
        while True:
            await asyncio.sleep(STEP)
            await asyncio.to_thread(aws.pass_time, self.stage.moto, STEP * SPEED)

    def note(self, what: str) -> None:
        """Note what the storm does."""
        self.notes.append((time.time(), f"STORM {what}"))

    def find_processes(self, task: ecs.Task) -> dict[int, str]:
        """Return the processes of a task, by their number."""
        return leftovers.find(self.stage.folder / task.facts.id)

    # -- people ------------------------------------------------------------------------------

    async def play(self) -> None:
        """Queue the jobs, let each have its turn, and wait until all are over."""
        resending = asyncio.create_task(self._send_again())
        try:
            async with asyncio.timeout(self.plan.patience), asyncio.TaskGroup() as turns:
                early = [await self._queue(wanted, turns) for wanted in self.plan.jobs]
                await asyncio.gather(*filter(None, early))
                self.note("has queued all jobs")
                await self._hold_back()
                self.stage.ecs.may_run.set()
        except TimeoutError:
            self.note("waits no longer for jobs")
        finally:
            resending.cancel()

    async def _hold_back(self) -> None:
        """Wait for as many registrations as the plan wants before any task may run."""

        def look() -> bool | None:
            over = all(job.state == "completed" for job in self.jobs)
            nobody = over and not self.stage.ecs.living()
            return nobody or self._registered() >= self.plan.registered or None

        for _ in range(HELD_BACK):
            if await self.stage.github.world.changes.until(look, 0.5):  # ECS rings no bell there
                return

    async def _queue(self, wanted: Wanted, turns: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        """Queue a job when its time has come; return its turn where no runner is needed for it."""
        with suppress(TimeoutError):
            await self.stage.ecs.wait_for(lambda: self._asked() >= wanted.after, SOON)
        self._disturb(len(self.jobs))
        asked, registered = self._asked(), self._registered()
        environment = "production" if wanted.turn is Turn.APPROVE else ""
        steps = [{"run": f'echo "$MARK" >> {self.marks}'}]
        if wanted.turn is Turn.CANCEL_RUNNING:
            steps.append({"run": "sleep 600"})
        job = self.stage.queue_job(
            *("self-hosted", "build"),
            name=wanted.name,
            steps=steps,
            env={"MARK": wanted.name},
            environment=environment,
        )
        self.jobs.append(job)
        early = {
            Turn.CANCEL_QUEUED: lambda: True,
            Turn.CANCEL_PLACED: lambda: self._asked() > asked,
            Turn.CANCEL_REGISTERED: lambda: self._registered() > registered,
        }
        if wanted.turn in early:
            return turns.create_task(self._cancel(job, early[wanted.turn]))
        turns.create_task(self._take_turn(job, wanted.turn))
        return None

    async def _take_turn(self, job: Job, turn: Turn) -> None:
        if turn is Turn.CANCEL_RUNNING:
            await self._cancel(job, lambda: job.state == "running", LONGEST)
        if turn is Turn.RERUN:
            await self._run_again(job)
        if turn is Turn.APPROVE:
            await self._approve(job)
        await self._wait(job)

    def _asked(self) -> int:
        return len(self.stage.ecs.asked("RunTask"))

    def _registered(self) -> int:
        return self.stage.github.world.calls["generate-jitconfig"]

    def _disturb(self, number: int) -> None:
        """Let late deliveries come, send good ones again, or change the pool."""
        hooks = self.stage.github.world.hooks
        if number % 4 == 3:
            hooks.release()
        good = [each for each in hooks.deliveries if each.action and each.status_code == 202]
        if good and self._chance.random() < self.plan.redelivered:
            hooks.redeliver(self._chance.choice(good))
        if self.plan.new_revision and number == len(self.plan.jobs) // 2:
            self._write_pools(REVISION)

    async def _cancel(self, job: Job, is_time: Callable[[], bool], seconds: float = 10.0) -> None:
        """Cancel a job when it is time, or when that does not come."""
        changes = self.stage.github.world.changes
        look = lambda: is_time() or job.state == "completed" or None  # noqa: E731
        ringing = asyncio.create_task(self._ring())  # ECS rings no bell at GitHub
        try:
            await changes.until(look, seconds)
        finally:
            ringing.cancel()
        self.stage.github.world.cancel(job)
        await self._wait(job)

    async def _ring(self) -> None:
        asked = self._asked()

        def look() -> bool:
            return self._asked() > asked

        while True:
            await self.stage.ecs.wait_for(look, LONGEST)
            asked = self._asked()
            self.stage.github.world.changes.ring()

    async def _run_again(self, job: Job) -> None:
        await self._wait(job)
        world = self.stage.github.world
        (again,) = world.jobs.run_again([job], world.now())
        self.jobs.append(again)
        await self._wait(again)

    async def _approve(self, job: Job) -> None:
        """Approve a job when the webhook has its deliveries, or when these got lost."""
        world = self.stage.github.world
        answered = lambda: all(it.status_code for it in world.hooks.of_job(job.id)) or None  # noqa: E731
        await world.changes.until(answered, 10 * SOON)
        world.approve(job)
        await self._wait(job)

    async def _wait(self, job: Job) -> None:
        over = lambda: job.state == "completed" or None  # noqa: E731
        await self.stage.github.world.changes.until(over, LONGEST)

    async def _send_again(self) -> None:
        """Have GitHub send again what has failed, as the launcher's owner does."""
        hooks, done = self.stage.github.world.hooks, set[int]()

        def look() -> list[Delivery] | None:
            failed = [each for each in hooks.deliveries if each.status_code not in (0, 200, 202)]
            return [each for each in failed if each.id not in done] or None

        while True:
            found = await self.stage.github.world.changes.until(look, LONGEST)
            await asyncio.sleep(PAUSE)  # else a busy queue is asked ever more
            await self._webhook_runs.wait()
            for delivery in found or ():
                done.add(delivery.id)
                hooks.redeliver(delivery)


async def _order_death(proxy: faults.Proxy, death: Death | None) -> None:
    """Wait until the call comes that is to be the last one: it has no answer."""
    if death is None:
        await asyncio.Event().wait()
        return
    skip = death.number - 1
    last = Applied(Rule("hang", target=death.call, skip=skip, times=1, forward=death.acted))
    proxy.applied.insert(0, last)
    await proxy.happened(last)


async def _wait_for_first(works: list[Coroutine[Any, Any, None]]) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
