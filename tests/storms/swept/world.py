"""The world of a storm that is swept: every intake, and a sweep in place of the operators."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.storms import launching
from tests.storms.calls import loop_time
from tests.storms.clock import Process
from tests.storms.swept import foreign, programs
from tests.storms.world import World

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.storms.ecs import Task
    from tests.storms.machines import Machine
    from tests.storms.swept.plan import Start, SweptPlan

FOR_PEOPLE = 1800.0
"""Seconds after the storm in which people may still do something; some wait for what never comes,
as for the end of a job whose launch is given up."""
REMEMBERED = (3600.0, 4000.0)
"""Seconds for which EC2 describes a machine that has ended."""
ASKS = 20
"""Times that a caller of the API asks again."""


class SweptWorld(World):
    """A storm's world with foreign things, whose own things are swept up."""

    plan: SweptPlan
    quiet = 6

    def __init__(self, plan: SweptPlan) -> None:
        super().__init__(plan)
        self.agents.hangs, self.agents.clings = plan.hangs, plan.clings
        self.ecs.lost_events = plan.lost_events
        self.ec2.forgotten = REMEMBERED  # else nothing tells whose the runner of a machine was
        self.foreign = foreign.plant(self)
        self.before = self.foreign.snapshot(self)
        self.watch = foreign.Watch(self, self.foreign)
        self.api: programs.Api | None = None
        self._api_process = Process("none")
        self.sweeps = 0
        """Those that began since all is calm, until all was gone."""

    @property
    def homes(self) -> list[Task | Machine]:
        """All of our tasks and machines that were ever started."""
        theirs = {*self.foreign.tasks, *self.foreign.machines}
        return [home for home in super().homes if home.id not in theirs]

    def swept(self) -> None:
        """Count a sweep."""
        self.sweeps += loop_time() >= self.plan.calm

    async def run(self) -> None:
        """Run the storm until all is gone, or the time is over."""
        for number in range(self.plan.sweepers):
            self._start(self._keep_sweep(number))
        if self.plan.orders:
            self._start(self._keep_api())
        for number, at in enumerate(self.plan.orders):
            self._coming += 1
            self._start(self._order(number, at))
        for number, start in enumerate(self.plan.starts):
            self._coming += 1
            self._start(self._use_command_line(f"key-{number}", start))
        self._start(self._at(self.plan.calm, self._calm_down))
        await super().run()

    def _calm_down(self) -> None:
        """Begin another of GitHub's hours, and let nothing die any more.

        A sweep must come through within an hour: so long does ECS know a task that has ended, and
        nobody else knows whose it was where no table has it.
        """
        self.github.remaining = 4900
        for process in self.processes:
            process.survive()

    def _work(self, name: str) -> Coroutine[Any, Any, None]:
        return programs.work(self, name)

    def _start_operators(self) -> None:
        """Let nobody mend anything: what is lost, the sweep has to find."""

    # -- programs ------------------------------------------------------------------------------

    async def _keep_sweep(self, number: int) -> None:
        """Sweep; after each death begin anew."""
        await asyncio.sleep(self.chance.uniform(0, programs.EVERY))
        while True:
            process = self._make_process(f"{foreign.SWEEP}-{number}")
            await self._wait_for_end(process, process.spawn(programs.sweep(self)))
            self.weather.note(f"{process.name} is killed")
            await asyncio.sleep(self.chance.uniform(0.1, 100))

    async def _keep_api(self) -> None:
        while True:
            process = self._api_process = self._make_process("api")
            root = process.spawn(programs.serve(self, process.name))
            await self._wait_for_end(process, root)
            self.api = None
            self.weather.note(f"{process.name} is killed")
            await asyncio.sleep(self.chance.uniform(0.1, 20))

    async def _order(self, number: int, at: float) -> None:
        """Ask the API for a runner, again and again."""
        await asyncio.sleep(at)
        for _ in range(ASKS):
            api, process = self.api, self._api_process
            if api is not None and not process.dead:
                taking = process.spawn(api.take(number))
                died = asyncio.ensure_future(process.died.wait())
                await asyncio.wait({taking, died}, return_when=asyncio.FIRST_COMPLETED)
                died.cancel()
                if taking.done() and taking.result():
                    break
            await asyncio.sleep(self.chance.uniform(5, 60))
        self._coming -= 1

    async def _use_command_line(self, key: str, start: Start) -> None:
        """Start runners, as a script does; it may be killed, tried again, and stopped."""
        await asyncio.sleep(start.at)
        await self._run_command(programs.start_runners(start, key, again=False), start.steps)
        if start.again:
            await asyncio.sleep(self.chance.uniform(1, 200))
            await self._run_command(programs.start_runners(start, key, again=True), None)
        if start.stops:
            await asyncio.sleep(self.chance.uniform(1, 200))
            await self._run_command(programs.stop_runners(start, key), start.steps)
        self._coming -= 1

    async def _run_command(self, work: Coroutine[Any, Any, None], steps: int | None) -> None:
        process = Process(f"command.{len(self.processes)}", steps)
        self.processes.append(process)
        root = process.spawn(work)
        died = asyncio.ensure_future(process.died.wait())
        await asyncio.wait({root, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if not process.dead and (error := root.exception()) is not None:
            self.wrong.append(f"{process.name} fails: {error!r}")

    # -- rest ----------------------------------------------------------------------------------

    def find_left(self) -> list[str]:
        """Find what is left of ours."""
        theirs = self.foreign
        left = {
            "parameter": self.ssm.parameters.keys() - theirs.parameters.keys(),
            "task": {home.id for home in self.homes if home.id in self.ecs.tasks and _lives(home)},
            "machine": {
                home.id for home in self.homes if home.id in self.ec2.machines and _lives(home)
            },
            "runner": {it.name for it in self.github.runners.values() if not it.foreign},
            "launch": set(launching.find_living(self.table.items)),
            "counter": set(launching.find_counters(self.table.items)),
        }
        return [f"{kind} {name}" for kind, names in left.items() for name in sorted(names)]

    def _is_at_rest(self) -> bool:
        if loop_time() < self.weather.calm or self.find_left():
            return False
        if self._coming and loop_time() < self.weather.calm + FOR_PEOPLE:
            return False
        return all(
            job.over or programs.has_ended(self.table.items, job.id) for job in self.admitted
        )


def _lives(home: Task | Machine) -> bool:
    return home.status != "STOPPED"
