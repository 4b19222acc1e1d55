"""Keep the launcher's processes alive in a storm, and kill each when its death comes."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from local import aws, faults
from local.faults import Applied, Rule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from local.agent import AgentProcess
    from local.github.webhooks import Hook
    from tests.launches.stage import Stage
    from tests.storms.real.plan import Death, Life
    from tests.storms.real.world import World

STEP, SPEED = 0.2, 15.0
"""Seconds between two steps of the queue's time, and how much faster than ours it goes."""


class Processes:
    """The workers and the webhook of one storm."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stage, self._plan = world.stage, world.plan
        self._hooks: list[Hook] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep workers and webhook alive for the block, and let the queue's time pass."""
        keepers = [
            *(self._keep_worker(lives) for lives in self._plan.workers),
            self._keep_webhook(),
            self._pass_time(),
        ]
        tasks = [asyncio.create_task(self._note_failure(keeper)) for keeper in keepers]
        try:
            await self._world.webhook_runs.wait()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _note_failure(self, keeper: Any) -> None:
        try:
            await keeper
        except Exception as error:  # noqa: BLE001  it must not hide what else goes wrong
            self._world.wrong.append(f"the storm itself fails: {error!r}")

    async def _keep_worker(self, lives: tuple[Life, ...]) -> None:
        """Run a worker; after each death start another."""
        for life in lives:
            async with self._own_stage(life) as (stage, death), stage.worker() as process:
                await self._wait_for_end(process, death)
            # What the dead one held comes free, as it does by itself after a minute.
            await asyncio.to_thread(aws.end_leases, self._stage.moto, pid=process.pid)

    async def _keep_webhook(self) -> None:
        """Run the webhook; after its death start another, and have GitHub send to that one."""
        for life in self._plan.webhook:
            async with (
                self._own_stage(life) as (stage, death),
                stage.webhook(told=False) as process,
            ):
                started = await process.wait_for_event("service.started")
                self._tell_github(f"{started['address']}/webhook")
                await self._wait_for_end(process, death)
                self._world.webhook_runs.clear()

    @asynccontextmanager
    async def _own_stage(self, life: Life) -> AsyncIterator[tuple[Stage, asyncio.Task[None]]]:
        """Give a process its own proxies before AWS: what goes wrong there is for it alone.

        The task ends when its death comes.
        """
        async with AsyncExitStack() as stack:
            ssm = await stack.enter_async_context(faults.serving(self._stage.moto))
            front = await stack.enter_async_context(faults.serving(self._stage.ecs.url))
            coming = [_order_death(proxy, life.death) for proxy in (ssm, front)]
            death = asyncio.create_task(_wait_for_first(coming))
            stack.callback(death.cancel)
            for proxy in (ssm, front):
                proxy.add(*life.rules)
            yield self._stage.behind(ssm, front), death

    async def _wait_for_end(self, process: AgentProcess, death: asyncio.Task[None]) -> None:
        """Kill the process when its death comes. That it ends by itself is wrong."""
        ended = asyncio.create_task(process.process.wait())
        try:
            await asyncio.wait({ended, death}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self._world.wrong.append(
                    f"{process.argv[-1]} ends by itself: {process.transcript()}"
                )
                return
            process.signal(signal.SIGKILL)
            self._world.note(f"kills {process.argv[-1]} {self._stage.launchers.index(process)}")
            await process.wait_for_end()
            self._world.killed += 1
        finally:
            ended.cancel()

    def _tell_github(self, url: str) -> None:
        if not self._hooks:
            self._hooks = [self._stage.add_hook(url) for _ in range(self._plan.hooks)]
            for kind, action, skip in self._plan.disturbances:
                self._stage.github.world.hooks.disturb(kind, action, skip=skip)
        for hook in self._hooks:
            hook.url = url
        self._world.webhook_runs.set()

    async def _pass_time(self) -> None:
        """Let the time of what is put off pass faster than ours: nobody here waits for minutes.

        While a message waits it does not: on a slow machine, messages would come again and again
        before anybody could take them.
        """
        while True:
            await asyncio.sleep(STEP)
            if not (await self._stage.count_messages()).get("queue", {}).get("waiting"):
                await asyncio.to_thread(aws.pass_time, self._stage.moto, STEP * SPEED)


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
