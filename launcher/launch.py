"""The stages of one launch: placed, handed over, online, cleaned up. Read this first.

First there is a task, then a token for it: no secret is made for a task that never comes. Each
stage returns at once where its condition already holds, so any of them may be called again, by
whoever goes on with the launch. What is about to be done is written into the journal before it is
done. What fails is cleaned up in reverse.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from launcher import identity
from launcher.errors import describe
from launcher.handing_over import HandingOver
from launcher.launch_runners import LaunchRunners
from launcher.look import ENDS, Look, Progress, judge
from launcher.places import Later, Started, Why
from launcher.places.request import Destination, make_tags
from sidecar.aws import sealing
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from launcher.journal import Journal
    from launcher.places import Place, Placement, Startable, TaskState
    from launcher.record.launch import Launch
    from launcher.tokens import TokenMaker, TokenStore
    from sidecar import github

log = structlog.get_logger()

UNKNOWN_FOR = 30.0
"""Seconds for which ECS may not know a task that it has just started."""
FIRST_LOOK, LONGEST_LOOK = 0.5, 5.0
"""Seconds between two looks at a task: they grow from the first to the longest."""
END_TIMEOUT = 45.0
"""Seconds that a stopped task is awaited, so that its runner cannot come after the last look."""


@dataclass(slots=True)
class Cleanup:
    """The result of undoing a launch."""

    left: list[str] = field(default_factory=list)
    """What could not be undone."""
    busy: bool = False
    """Whether its runner has a job: then nothing was undone."""


@dataclass(frozen=True)
class Stages:
    """The stages, with what they need: a place, a store and maker of tokens, GitHub, a journal."""

    ecs: Place
    destination: Startable
    store: TokenStore
    maker: TokenMaker
    connection: github.Connection
    name_prefix: str
    deployment: str
    journal: Journal
    now: Callable[[], float] = time.time
    limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(10))
    """Of requests to start a task that are under way at once."""
    keeps_token: Callable[[], Awaitable[bool]] | None = None
    """Says whether the agent of the next token leaves its parameter to the launcher."""
    seals: bool = False
    """Whether only the task's own agent can read its token: one that registers more runners."""

    @cached_property
    def runners(self) -> LaunchRunners:
        """The runners of the launches at GitHub."""
        return LaunchRunners(self.connection, self.name_prefix)

    # -- placed ------------------------------------------------------------------------------

    async def place(self, launch: Launch) -> tuple[Launch, Placement]:
        """Have a task: ask each capacity of the destination in turn, once.

        A pass that was refused begins a new round: AWS would answer the same requests as before.
        """
        if launch.place is not None:
            return launch, Started(launch.place)
        while True:
            is_new = launch.request is None
            launch, placement = await self._ask(launch)
            if isinstance(placement, Started):
                return await self._set_placed(launch, placement), placement
            if isinstance(placement, Later) and placement.why is Why.THROTTLE:
                if is_new:  # else an earlier answer may be lost: then the request stays
                    launch = await self.journal.save(replace(launch, request=None))
                return launch, placement
            asks_next = isinstance(placement, Later) and placement.asks_next
            if not asks_next or launch.step + 1 >= self.destination.steps:
                return await self.journal.save(launch.next_round(placement.reason)), placement
            launch = launch.next_step(placement.reason)

    async def _ask(self, launch: Launch) -> tuple[Launch, Placement]:
        if launch.request is None:
            token = identity.client_token(*launch.client_token_parts)
            started_by = identity.started_by(launch.order_id)
            tags = {**dict(self.destination.tags), **self._tags(launch)}
            destination = self.destination
            # A machine can be told no secret: every job reads its user data and tags.
            if self.seals and isinstance(destination, Destination):
                destination = destination.with_token_key(sealing.make_key())
            request = destination.make_request(token, started_by, tags, launch.step)
            # Before it is sent: its answer may be lost, and only the same request tells it then.
            launch = await self.journal.save(launch.with_request(json.dumps(request)))
        async with self.limit:
            return launch, await self._send(launch)

    async def _send(self, launch: Launch) -> Placement:
        return await self.ecs.start(json.loads(launch.request or ""))

    async def _set_placed(self, launch: Launch, placement: Started) -> Launch:
        placed = launch.placed(placement.task, self.now())
        placed = replace(placed, may_exist=launch.may_exist or placement.adopted)
        launch = await self.journal.save(placed)
        log.info("task.placed", **launch.facts, adopted=placement.adopted)
        return launch

    def _tags(self, launch: Launch) -> dict[str, str]:
        return make_tags(self.deployment, launch.order_id, launch.id, self.connection.url)

    # -- handed over -------------------------------------------------------------------------

    async def hand_over(self, launch: Launch) -> Launch:
        """Write a token for the task alone. Raises SidecarError.

        Where it is not known yet whether an earlier token was read, the launch comes back without
        `handed_over`: then call again later.
        """
        stage = HandingOver(
            store=self.store,
            maker=self.maker,
            runners=self.runners,
            journal=self.journal,
            now=self.now,
            keeps_token=self.keeps_token,
            seals=self.seals,
        )
        return await stage.hand_over(launch, self._tags(launch))

    # -- online ------------------------------------------------------------------------------

    async def follow(self, launch: Launch) -> AsyncIterator[Look]:
        """Look at the task and its runner until it has ended; give each look."""
        pause = FIRST_LOOK
        while True:
            look = await self.look(launch)
            yield look
            if look.progress in ENDS:
                return
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK, pause * 1.5)

    async def look(self, launch: Launch, *, ask_github: bool = True) -> Look:
        """Look once. GitHub is asked only about a task that runs and has its token."""
        task = launch.task
        state = (await self.ecs.look([task])).get(identity.task_id(task))
        if state is None:
            young = self.now() - launch.placed_at < UNKNOWN_FOR
            return Look(Progress.STARTING if young else Progress.FAILED)
        look = judge(state)
        asks = ask_github and launch.handed_over and look.progress is Progress.RUNNING
        if asks and await self.runners.is_online(launch):
            return Look(Progress.ONLINE, state)
        return look

    # -- cleaned up --------------------------------------------------------------------------

    async def clean_up(self, launch: Launch, reason: str) -> Cleanup:
        """Undo a launch, wait for its task's end, and look for its runner once more."""
        launch, cleanup = await self.undo(launch, reason)
        if launch.place is None or cleanup.busy or _kept(cleanup):
            return cleanup
        if launch.newest_generation:
            await self._step(launch, "runner", self._delete_late_runners(launch), cleanup)
        if not cleanup.left:
            log.info("launch.cleaned_up", **launch.facts, reason=reason)
        return cleanup

    async def undo(
        self, launch: Launch, reason: str, state: TaskState | None = None
    ) -> tuple[Launch, Cleanup]:
        """Undo runner, task and token, in this order. `state` is what is known of the task.

        A runner that has a job keeps its task: both end with the job. So does one of which GitHub
        does not say whether it has one.
        """
        cleanup = Cleanup()
        ended = state is not None and state.ended
        launch = await self._settle(launch, cleanup)
        if launch.place is None:
            return launch, cleanup
        if await self._step(launch, "runner", self.runners.delete_all(launch), cleanup) is False:
            if not ended:
                log.info("launch.kept", **launch.facts, reason="its runner has a job")
                cleanup.busy = True
                return launch, cleanup
            cleanup.left.append(f"runner of {launch.place}")  # GitHub notices its end in a moment
        if cleanup.left and (launch.handed_over or launch.may_exist) and not ended:
            cleanup.left.append(f"task {launch.place}, {MAY_HAVE_A_JOB}")
            return launch, cleanup
        if not ended:
            await self._step(launch, "task", self.ecs.stop(launch.place, reason), cleanup)
        await self._step(launch, "token", self.store.delete(launch.place), cleanup)
        return launch, cleanup

    async def _settle(self, launch: Launch, cleanup: Cleanup) -> Launch:
        """Learn what became of a request whose answer was lost: the same request tells it."""
        if launch.place is not None or launch.request is None:
            return launch
        placement = await self._step(launch, "request", self._send(launch), cleanup)
        if isinstance(placement, Started):
            return await self.journal.save(launch.placed(placement.task, self.now()))
        return launch

    async def _step(self, launch: Launch, what: str, work: Any, cleanup: Cleanup) -> Any:
        """Take one step of the cleanup; a failure is logged and does not stop the next one."""
        try:
            return await work
        except SidecarError as error:
            cleanup.left.append(f"{what} of {launch.place or launch.id}")
            log.error("cleanup.failed", undo=what, **launch.facts, reason=describe(error))  # noqa: TRY400
        return None

    async def _delete_late_runners(self, launch: Launch) -> None:
        """Wait for the task's end, then look once more: its agent may just have registered."""
        try:
            async with asyncio.timeout(END_TIMEOUT):
                async for look in self.follow(launch):
                    if look.progress in ENDS:
                        break
        except TimeoutError:
            log.warning("task.still_there", **launch.facts, seconds=END_TIMEOUT)
        await self.runners.delete_all(launch)


MAY_HAVE_A_JOB = "whose runner may have a job"


def _kept(cleanup: Cleanup) -> bool:
    return any(what.endswith(MAY_HAVE_A_JOB) for what in cleanup.left)
