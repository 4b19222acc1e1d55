"""Start as many runners as were asked for, or none: what fails takes back all the others."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.errors import Exit, LaunchError, describe_refusal
from launcher.exits import explain
from launcher.handing_over import GENERATIONS
from launcher.interruption import InterruptedWork
from launcher.journal import MemoryJournal
from launcher.look import Progress, explain_end
from launcher.places import Later, Refused, Started
from launcher.record.launch import Launch
from sidecar import github
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from launcher.interruption import Interruption
    from launcher.launch import Stages

log = structlog.get_logger()

TRIES = 3
"""Tasks that are started for one launch when each ends before its runner is online."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds before a launch that is to come later is tried again: they double up to the longest."""
CLEANUP_TIMEOUT = 90.0
"""Seconds for the whole cleanup; a CI system kills a cancelled step not much later."""
CONSOLE_TIMEOUT = 20.0
"""Seconds for reading the consoles of the machines whose runners were missed."""
GITHUB_NEEDS = (
    "needs Administration: write for a repository, Self-hosted runners: write for an organization"
)
WAITS = ("online", "running", "none")


@dataclass(frozen=True, slots=True)
class Order:
    """An order of runners."""

    deployment: str
    scope: str
    key: str
    count: int
    wait: str = "online"
    """online: until the runner waits for jobs; running: until the task runs; none."""
    timeout: float = 600.0
    repeated: bool = False
    """Whether an earlier process may have had the same order: the key was given."""

    @property
    def request(self) -> str:
        """The id of the order."""
        return identity.launch_id(self.deployment, self.scope, self.key)

    def launches(self) -> list[Launch]:
        """Make its launches; the ordinal is part of the key."""
        return [
            Launch(
                identity.launch_id(self.deployment, self.scope, self.key, str(ordinal)),
                pool="",
                demand="",
                first_seen=0.0,
                order=self.request,
                may_exist=self.repeated,
            )
            for ordinal in range(self.count)
        ]


class Work:
    """The launches of an order as they are now, and what delays them."""

    def __init__(self, stages: Stages, launches: list[Launch]) -> None:
        self.stages = stages
        self._begun = launches
        self.delays: dict[str, Later] = {}
        """By launch: why it could not be placed, the last time."""
        self.reached: set[str] = set()
        """The launches that are where the order wants them."""

    @property
    def launches(self) -> list[Launch]:
        """Return each launch as the journal has it."""
        journal = self.stages.journal
        if not isinstance(journal, MemoryJournal):
            return self._begun
        return [journal.latest(launch) for launch in self._begun]


async def start(order: Order, stages: Stages, interruption: Interruption) -> Exit:
    """Start the runners; return the exit code. What was started stays only if all is well."""
    work = Work(stages, order.launches())
    code = Exit.BUG
    try:
        async with interruption.cuts():
            await _start_all(order, work)
            code = Exit.DONE
    except InterruptedWork as stopped:
        code = Exit.INTERRUPTED
        log.warning("start.interrupted", reason=str(stopped))
    except LaunchError as error:
        code = error.exit
        log.error("start.failed", reason=str(error))  # noqa: TRY400
    except Exception:
        log.exception("start.crashed")
    launches = work.launches
    if code is Exit.DONE:
        tasks = [launch.place for launch in launches]
        runners = [launch.runner_name for launch in launches]
        log.info("start.done", tasks=tasks, runners=runners)
        return code
    return Exit.LEFT_BEHIND if await clean_up_all(stages, launches, code.meaning) else code


async def _start_all(order: Order, work: Work) -> None:
    try:
        async with asyncio.timeout(order.timeout), asyncio.TaskGroup() as group:
            for launch in work.launches:
                group.create_task(_start_one(order, work, launch))
    except TimeoutError:
        late = _late(order, work)
        await _show_consoles(work, str(late))
        raise late from None
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors


def _late(order: Order, work: Work) -> LaunchError:
    for launch in work.launches:
        if launch.place is None and (later := work.delays.get(launch.id)):
            text = f"{later.reason} ({later.why}); tried for {order.timeout:g} s"
            return LaunchError(Exit.LATER, text)
    text = f"cannot wait longer for all runners to be {order.wait}: {order.timeout:g} s are over"
    return LaunchError(Exit.TIMEOUT, f"{text} (--timeout)")


async def _show_consoles(work: Work, reason: str) -> None:
    """Write what the machines have said last whose runners are missed; tasks have no console."""
    missed = [launch for launch in work.launches if launch.id not in work.reached]
    with suppress(TimeoutError):
        async with asyncio.timeout(CONSOLE_TIMEOUT), asyncio.TaskGroup() as group:
            for launch in missed:
                group.create_task(_show_console(work.stages, launch, reason))


async def _show_console(stages: Stages, launch: Launch, reason: str) -> None:
    if identity.is_machine(launch.place or ""):
        from launcher.work.console import show_console  # late: all of `work` comes with it

        await show_console(stages.ecs, launch, reason)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group, translated where it is one of AWS or GitHub."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, github.PermissionDenied):
        return LaunchError(Exit.REFUSED, describe_refusal(error, GITHUB_NEEDS))
    return LaunchError(*explain(error)) if isinstance(error, SidecarError) else error


async def _start_one(order: Order, work: Work, launch: Launch) -> None:
    """Bring one launch as far as the order wants it."""
    stages = work.stages
    while True:
        launch = await stages.hand_over(await _place(work, launch))
        reason = await _find_failure(order, stages, launch)
        if reason is None:
            work.reached.add(launch.id)
            return
        log.warning("task.failed", launch=launch.id, task=launch.place, reason=reason)
        await _show_console(stages, launch, reason)
        await stages.clean_up(launch, "its task ended")
        if launch.tries == TRIES:
            text = f"cannot start a runner: {TRIES} tasks ended before theirs was online: {reason}"
            raise LaunchError(Exit.ENDED, text)
        launch = await stages.journal.save(launch.next_try(reason))


async def _place(work: Work, launch: Launch) -> Launch:
    pause = FIRST_PAUSE
    while True:
        launch, placement = await work.stages.place(launch)
        if isinstance(placement, Started):
            return launch
        if isinstance(placement, Refused):
            raise LaunchError(Exit.REFUSED, placement.reason)
        work.delays[launch.id] = placement
        seconds = random.uniform(pause / 2, pause)  # noqa: S311  spread, not secrecy
        log.warning(
            "task.delayed",
            launch=launch.id,
            why=placement.why,
            reason=placement.reason,
            seconds=round(seconds, 1),
        )
        await asyncio.sleep(seconds)
        pause = min(LONGEST_PAUSE, 2 * pause)


async def _find_failure(order: Order, stages: Stages, launch: Launch) -> str | None:
    """Wait until the launch is where the order wants it; say why, if its task ended before."""
    if order.wait == "none":
        return None
    enough = {Progress.ONLINE, Progress.SERVED}
    if order.wait == "running":
        enough.add(Progress.RUNNING)
    look = None
    async for look in stages.follow(launch):
        if look.progress in enough:
            event = "task.running" if look.progress is Progress.RUNNING else "runner.online"
            log.info(event, launch=launch.id, task=launch.place)
            return None
    return explain_end(look.state if look else None)


async def clean_up_all(stages: Stages, launches: list[Launch], reason: str) -> list[str]:
    """Clean up launches side by side, within the time-out; return what is left."""
    left: list[str] = []
    try:
        async with asyncio.timeout(CLEANUP_TIMEOUT), asyncio.TaskGroup() as group:
            done = [group.create_task(stages.clean_up(each, reason)) for each in launches]
    except TimeoutError:
        left.append(f"what could not be undone within {CLEANUP_TIMEOUT:g} s")
    else:
        left += [what for each in done for what in each.result().left]
    if left:
        log.error("cleanup.incomplete", left=left, requests=sorted({e.order_id for e in launches}))
    return left


async def stop(order: Order, stages: Stages) -> Exit:
    """Stop what an order has started and nobody uses; a runner that has a job is left alone."""
    started_by = identity.started_by(order.request)
    try:
        tasks = {identity.task_id(task) for task in await stages.ecs.find(started_by)}
        tasks |= set(await stages.store.find_tasks(order.request))
    except SidecarError as error:
        code, reason = explain(error)
        log.error("stop.failed", reason=reason)  # noqa: TRY400
        return code
    launches = []
    for task in sorted(tasks):
        launch = Launch(task, pool="", demand="", first_seen=0.0, order=order.request)
        # Whoever started it may have needed another name than the first: all are looked for.
        launches.append(replace(launch, place=task, generation=GENERATIONS, handed_over=True))
    log.info("stop.begun", tasks=sorted(tasks))
    left = await clean_up_all(stages, launches, "stopped by runner-launcher stop")
    return Exit.LEFT_BEHIND if left else Exit.DONE
