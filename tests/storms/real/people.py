"""Play the people of a storm: they queue, cancel and approve jobs, and send deliveries again."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.storms.real.plan import Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from local.github.jobs import Job
    from local.github.webhooks import Delivery
    from tests.storms.real.plan import Wanted
    from tests.storms.real.world import World

SOON = 1.0
"""Seconds after which what should come first is not waited for any more."""
PAUSE, LONGEST_PAUSE = 1.5, 24.0
"""Seconds until the launcher's owner has failed deliveries sent again; they double each time.

A webhook whose queue answers late says that it failed, and its message is there all the same. An
owner without patience would fill the queue of a slow machine faster than it can be emptied.
"""
LONGEST = 3600.0
"""Seconds of a wait that something else bounds."""
REVISION = "runner:2"


class People:
    """The people of one storm."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stage, self._plan = world.stage, world.plan

    @asynccontextmanager
    async def resending(self) -> AsyncIterator[None]:
        """Have GitHub send again what has failed, for the block.

        When all jobs are over the last deliveries may still fail: there is no rest before they are
        taken.
        """
        sending = asyncio.create_task(self._send_again())
        try:
            yield
        finally:
            sending.cancel()

    async def play(self) -> None:
        """Queue the jobs, let each have its turn, and wait until all are over."""
        try:
            async with asyncio.timeout(self._plan.patience), asyncio.TaskGroup() as turns:
                early = [await self._queue(wanted, turns) for wanted in self._plan.jobs]
                await asyncio.gather(*filter(None, early))
                self._world.note("has queued all jobs")
                await self._hold_back()
                self._stage.ecs.may_run.set()
        except TimeoutError:
            self._world.note("waits no longer for jobs")

    async def _hold_back(self) -> None:
        """Wait for as many registrations as the plan wants before any task may run."""

        def look() -> bool | None:
            over = all(job.state == "completed" for job in self._world.jobs)
            nobody = over and not self._stage.ecs.living()
            return nobody or self._registered() >= self._plan.registered or None

        ringing = asyncio.create_task(self._ring())  # ECS rings no bell at GitHub
        try:
            await self._stage.github.world.changes.until(look, self._plan.held_for)
        finally:
            ringing.cancel()

    async def _queue(self, wanted: Wanted, turns: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        """Queue a job when its time has come; return its turn where no runner is needed for it."""
        with suppress(TimeoutError):
            await self._stage.ecs.wait_for(lambda: self._asked() >= wanted.after, SOON)
        self._disturb(len(self._world.jobs))
        asked, registered = self._asked(), self._registered()
        environment = "production" if wanted.turn is Turn.APPROVE else ""
        steps = [{"run": f'echo "$MARK" >> {self._world.marks}'}]
        if wanted.turn is Turn.CANCEL_RUNNING:
            steps.append({"run": "sleep 600"})
        job = self._stage.queue_job(
            *("self-hosted", "build"),
            name=wanted.name,
            steps=steps,
            env={"MARK": wanted.name},
            environment=environment,
        )
        self._world.jobs.append(job)
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
        return len(self._stage.ecs.asked("RunTask"))

    def _registered(self) -> int:
        return self._stage.github.world.calls["generate-jitconfig"]

    def _disturb(self, number: int) -> None:
        """Let late deliveries come, send good ones again, or change the pool."""
        hooks = self._stage.github.world.hooks
        if number % 4 == 3:
            hooks.release()
        good = [each for each in hooks.deliveries if each.action and each.status_code == 202]
        if good and self._world.chance.random() < self._plan.redelivered:
            hooks.redeliver(self._world.chance.choice(good))
        if self._plan.new_revision and number == len(self._plan.jobs) // 2:
            self._world.write_pools(REVISION)

    async def _cancel(
        self, job: Job, is_time: Callable[[], bool], seconds: float | None = None
    ) -> None:
        """Cancel a job when it is time, or when that does not come."""
        changes = self._stage.github.world.changes
        seconds = self._plan.held_for / 2 if seconds is None else seconds
        look = lambda: is_time() or job.state == "completed" or None  # noqa: E731
        ringing = asyncio.create_task(self._ring())  # ECS rings no bell at GitHub
        try:
            await changes.until(look, seconds)
        finally:
            ringing.cancel()
        self._stage.github.world.cancel(job)
        await self._wait(job)

    async def _ring(self) -> None:
        """Ring GitHub's bell at each request of RunTask, and at each change of a task."""
        known = -1  # what changed before this began to run is a change, too

        def look() -> bool:
            return self._count_changes() > known

        while True:
            await self._stage.ecs.wait_for(look, LONGEST)
            known = self._count_changes()
            self._stage.github.world.changes.ring()

    def _count_changes(self) -> int:
        return self._asked() + len(self._stage.ecs.events.told)

    async def _run_again(self, job: Job) -> None:
        await self._wait(job)
        world = self._stage.github.world
        (again,) = world.jobs.run_again([job], world.now())
        self._world.jobs.append(again)
        await self._wait(again)

    async def _approve(self, job: Job) -> None:
        """Approve a job when the webhook has its deliveries, or when these got lost."""
        world = self._stage.github.world
        answered = lambda: all(it.status_code for it in world.hooks.of_job(job.id)) or None  # noqa: E731
        await world.changes.until(answered, 10 * SOON)
        world.approve(job)
        await self._wait(job)

    async def _wait(self, job: Job) -> None:
        over = lambda: job.state == "completed" or None  # noqa: E731
        await self._stage.github.world.changes.until(over, LONGEST)

    async def _send_again(self) -> None:
        """Have GitHub send again what has failed, as the launcher's owner does."""
        hooks, done = self._stage.github.world.hooks, set[int]()
        times = Counter[str]()

        def look() -> list[Delivery] | None:
            failed = [each for each in hooks.deliveries if each.status_code not in (0, 200, 202)]
            return [each for each in failed if each.id not in done] or None

        while True:
            found = await self._stage.github.world.changes.until(look, LONGEST)
            most = max((times[each.guid] for each in found or ()), default=0)
            await asyncio.sleep(min(LONGEST_PAUSE, PAUSE * 2**most))
            await self._world.webhook_runs.wait()
            for delivery in found or ():
                done.add(delivery.id)
                times[delivery.guid] += 1
                hooks.redeliver(delivery)
