"""The stages of one launch: placed, handed over, online, cleaned up. Read this first.

First there is a task, then a token for it: no secret is made for a task that never comes. Each
stage returns at once where its condition already holds, so any of them may be called again, by
whoever goes on with the launch. What fails is cleaned up in reverse.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog

from launcher import identity
from launcher.errors import describe
from launcher.places import Later, Started, Why
from launcher.places.ecs import make_request, make_tags
from sidecar import github
from sidecar.errors import Exit, SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.places import Placement, TaskState
    from launcher.places.ecs import Destination, Ecs
    from launcher.tokens import RunnerToken, TokenMaker, TokenStore

log = structlog.get_logger()

GENERATIONS = 5
"""Names that are tried for one task: each is taken only where an answer of GitHub's was lost."""
UNKNOWN_FOR = 30.0
"""Seconds for which ECS may not know a task that it has just started."""
FIRST_LOOK, LONGEST_LOOK = 0.5, 5.0
"""Seconds between two looks at a task: they grow from the first to the longest."""
END_TIMEOUT = 45.0
"""Seconds that a stopped task is awaited, so that its runner cannot come after the last look."""


class Progress(StrEnum):
    """How far a task has come."""

    STARTING = "starting"
    RUNNING = "running"
    ONLINE = "online"
    SERVED = "served"
    """It ended well: its runner has run a job."""
    FAILED = "failed"
    """It ended, or is ending, and has run no job."""


@dataclass(slots=True)
class Launch:
    """One launch and what is known of it so far."""

    id: str
    request: str
    """The id of what was asked for; several launches may belong to it."""
    may_exist: bool = False
    """Whether an earlier process may have begun it: then what exists is looked for first."""
    number: int = 1
    """The try: each has a task of its own."""
    round: int = 1
    step: int = 0
    sent: dict[str, Any] | None = None
    """The request of RunTask whose outcome is not known, exactly as it was sent."""
    task: str | None = None
    placed_at: float = -math.inf
    generation: int = 0
    """Of its token: raised before each is made."""
    runner_id: int | None = None
    handed_over: bool = False
    last_later: Later | None = None
    """Why it could not be placed, the last time."""
    state: TaskState | None = None

    def next_try(self) -> None:
        """Forget the task, which has ended; the next one is another."""
        self.number, self.round, self.step = self.number + 1, 1, 0
        self.sent = self.task = self.runner_id = self.state = None
        self.generation, self.handed_over = 0, False


@dataclass(frozen=True)
class Stages:
    """The stages, with what they need: a place, a store and maker of tokens, GitHub."""

    ecs: Ecs
    destination: Destination
    store: TokenStore
    maker: TokenMaker
    connection: github.Connection
    name_prefix: str
    deployment: str
    _limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(10))

    # -- placed ------------------------------------------------------------------------------

    async def place(self, launch: Launch) -> Placement:
        """Have a task: ask each capacity provider in turn, once.

        A full pass that was refused for want of capacity begins a new round: AWS would answer the
        same requests as before.
        """
        if launch.task is not None:
            return Started(launch.task)
        while True:
            placement = await self._ask(launch)
            if isinstance(placement, Started):
                launch.task, launch.placed_at = placement.task, _now()
                launch.may_exist = launch.may_exist or placement.adopted
                log.info("task.placed", **_facts(launch), adopted=placement.adopted)
                return placement
            if not isinstance(placement, Later) or placement.why is not Why.CAPACITY:
                return placement
            launch.step += 1
            if launch.step == self.destination.steps:
                launch.step, launch.round = 0, launch.round + 1
                return placement

    async def _ask(self, launch: Launch) -> Placement:
        token = identity.client_token(launch.id, launch.number, launch.round, launch.step)
        started_by = identity.started_by(launch.request)
        request = make_request(self.destination, token, started_by, self._tags(launch), launch.step)
        async with self._limit:
            launch.sent = launch.sent or request  # before it is sent: its answer may be lost
            placement = await self.ecs.start(launch.sent)
        launch.sent = None  # the outcome is known
        return placement

    def _tags(self, launch: Launch) -> dict[str, str]:
        return make_tags(self.deployment, launch.request, launch.id)

    # -- handed over -------------------------------------------------------------------------

    async def hand_over(self, launch: Launch) -> None:
        """Write a token for the task alone. Raises SidecarError."""
        if launch.handed_over:
            return
        if launch.may_exist and await self._was_handed_over(launch):
            launch.handed_over = True
            return
        task = self._task(launch)
        token = await self._make_token(launch)
        await self.store.write(task, token, self._tags(launch), lambda: self._is_online(launch))
        launch.handed_over = True
        log.info("token.handed_over", **_facts(launch), runner=self.runner_name(launch))

    async def _was_handed_over(self, launch: Launch) -> bool:
        """Whether a token or a runner is there: an earlier process has made it."""
        launch.generation = 1
        if await self.store.exists(self._task(launch)):
            return True
        found = await (await self.connection.runners()).find(self.runner_name(launch))
        launch.runner_id = found.id if found else None
        launch.generation = 1 if found else 0
        return found is not None

    async def _make_token(self, launch: Launch) -> RunnerToken:
        for _ in range(GENERATIONS):
            launch.generation += 1
            name = self.runner_name(launch)
            try:
                token = await self.maker.make(name)
            except github.NameTaken:
                await self._delete_runner(name)  # an answer was lost, and with it its token
                continue
            except SidecarError as error:
                if not isinstance(error, github.TransientError):
                    # Refused, or no credential to ask with: there is no runner of that name.
                    launch.generation -= 1
                raise
            launch.runner_id = token.runner_id
            return token
        raise github.GitHubError(f"cannot register a runner for {launch.task}: its name is taken")

    def runner_name(self, launch: Launch) -> str:
        """Return the name of the launch's runner, of the newest generation."""
        return identity.runner_name(self.name_prefix, self._task(launch), launch.generation)

    @staticmethod
    def _task(launch: Launch) -> str:
        assert launch.task is not None, "place it first"  # noqa: S101
        return launch.task

    # -- online ------------------------------------------------------------------------------

    async def follow(self, launch: Launch) -> AsyncIterator[Progress]:
        """Look at the task and its runner until it has ended; give its progress each time."""
        pause = FIRST_LOOK
        while True:
            progress = await self.look(launch)
            yield progress
            if progress in (Progress.SERVED, Progress.FAILED):
                return
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK, pause * 1.5)

    async def look(self, launch: Launch) -> Progress:
        """Look once. GitHub is asked only about a task that runs and has its token."""
        task = self._task(launch)
        state = (await self.ecs.look([task])).get(identity.task_id(task))
        if state is None:
            young = _now() - launch.placed_at < UNKNOWN_FOR
            return Progress.STARTING if young else Progress.FAILED
        launch.state = state
        if state.ended:
            return Progress.SERVED if state.exit_code == Exit.DONE else Progress.FAILED
        if state.stopping or state.status != "RUNNING":
            return Progress.STARTING
        if launch.handed_over and await self._is_online(launch):
            return Progress.ONLINE
        return Progress.RUNNING

    async def _is_online(self, launch: Launch) -> bool:
        runners = await self.connection.runners()
        if launch.runner_id is not None:
            found = await runners.get(launch.runner_id)
        else:
            found = await runners.find(self.runner_name(launch))
        return found is not None and (found.online or found.busy)

    # -- cleaned up --------------------------------------------------------------------------

    async def clean_up(self, launch: Launch, reason: str) -> list[str]:
        """Undo a launch: runner, task, token; return what could not be undone.

        A runner that has a job keeps its task: both end with the job. So does one of which GitHub
        does not say whether it has one.
        """
        left: list[str] = []
        if launch.task is None:
            await self._settle(launch, left)
        if launch.task is None:
            return left
        if await self._step(launch, "runner", self._delete_runners(launch), left) == "busy":
            log.info("launch.kept", **_facts(launch), reason="its runner has a job")
            return left
        if left and launch.handed_over and not (launch.state and launch.state.ended):
            left.append(f"task {launch.task}, whose runner may have a job")
            return left
        await self._step(launch, "task", self._stop(launch, reason), left)
        await self._step(launch, "token", self.store.delete(launch.task), left)
        if launch.generation:
            await self._step(launch, "runner", self._delete_late_runners(launch), left)
        if not left:
            log.info("launch.cleaned_up", **_facts(launch), reason=reason)
        return left

    async def _settle(self, launch: Launch, left: list[str]) -> None:
        """Learn what became of a request whose answer was lost: the same request tells it."""
        if launch.sent is None:
            return
        placement = await self._step(launch, "request", self.ecs.start(launch.sent), left)
        if isinstance(placement, Started):
            launch.task, launch.placed_at = placement.task, _now()

    async def _step(self, launch: Launch, what: str, work: Any, left: list[str]) -> Any:
        """Take one step of the cleanup; a failure is logged and does not stop the next one."""
        try:
            return await work
        except SidecarError as error:
            left.append(f"{what} of {launch.task or launch.id}")
            log.error("cleanup.failed", undo=what, **_facts(launch), reason=describe(error))  # noqa: TRY400
        return None

    async def _delete_runners(self, launch: Launch) -> str:
        """Delete the runner of each generation; "busy" if one has a job."""
        for generation in range(1, launch.generation + 1):
            name = identity.runner_name(self.name_prefix, self._task(launch), generation)
            if not await self._delete_runner(name):
                return "busy"
        return "deleted"

    async def _delete_runner(self, name: str) -> bool:
        """Delete a runner by name; False if it has a job."""
        runners = await self.connection.runners()
        found = await runners.find(name)
        if found is None:
            return True
        try:
            if found.busy:
                return False
            await runners.delete(found.id)
        except github.RunnerBusy:
            return False
        log.info("runner.deleted", runner=name)
        return True

    async def _stop(self, launch: Launch, reason: str) -> None:
        if launch.state is None or not launch.state.ended:
            await self.ecs.stop(self._task(launch), reason)

    async def _delete_late_runners(self, launch: Launch) -> None:
        """Wait for the task's end, then look once more: its agent may just have registered."""
        try:
            async with asyncio.timeout(END_TIMEOUT):
                async for progress in self.follow(launch):
                    if progress in (Progress.SERVED, Progress.FAILED):
                        break
        except TimeoutError:
            log.warning("task.still_there", **_facts(launch), seconds=END_TIMEOUT)
        await self._delete_runners(launch)


def _facts(launch: Launch) -> dict[str, Any]:
    return {"launch": launch.id, "task": launch.task, "try": launch.number}


def _now() -> float:
    return asyncio.get_running_loop().time()


def explain_end(state: TaskState | None) -> str:
    """Say in one line why a task ended: ECS's reason and the agent's exit code."""
    if state is None:
        return "ECS does not know the task any more"
    code = state.exit_code
    if code is None:
        return f"{state.reason or 'ECS gives no reason'}; no exit code"
    known = {int(each): each.meaning for each in Exit}
    meaning = f" ({known[code]})" if code in known else ""
    return f"{state.reason}; exit code {code}{meaning}"
