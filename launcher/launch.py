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
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from launcher import identity
from launcher.errors import describe
from launcher.places import Later, Started, Why
from launcher.places.request import Destination, make_tags, read_token_key
from sidecar import github
from sidecar.aws import sealing
from sidecar.errors import Exit, SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from launcher.places import Place, Placement, Startable, TaskState
    from launcher.record.launch import Launch
    from launcher.tokens import RunnerToken, TokenMaker, TokenStore

log = structlog.get_logger()

GENERATIONS = 5
"""Names that are tried for one task: each is taken only where an answer of GitHub's was lost."""
UNKNOWN_FOR = 30.0
"""Seconds for which ECS may not know a task that it has just started."""
UNSETTLED_FOR = 60.0
"""Seconds after a token was announced, in which an agent that has read it may not be online yet."""
FIRST_LOOK, LONGEST_LOOK = 0.5, 5.0
"""Seconds between two looks at a task: they grow from the first to the longest."""
END_TIMEOUT = 45.0
"""Seconds that a stopped task is awaited, so that its runner cannot come after the last look."""


class Progress(StrEnum):
    """The stage that a task has reached."""

    STARTING = "starting"
    RUNNING = "running"
    ONLINE = "online"
    SERVED = "served"
    """It ended well: its runner has run a job."""
    FAILED = "failed"
    """It ended, or is ending, and has run no job."""


ENDS = (Progress.SERVED, Progress.FAILED)


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one look at a task."""

    progress: Progress
    state: TaskState | None = None
    """None where ECS does not know the task."""


@dataclass(slots=True)
class Cleanup:
    """The result of undoing a launch."""

    left: list[str] = field(default_factory=list)
    """What could not be undone."""
    busy: bool = False
    """Whether its runner has a job: then nothing was undone."""


class Journal(Protocol):
    """The store in which a launch is written down before anything is done for it."""

    async def save(self, launch: Launch) -> Launch:
        """Write the launch; return it as it is written."""


class MemoryJournal:
    """Keeps launches for a process that has no table: what it did is known until it ends."""

    def __init__(self) -> None:
        self._kept: dict[str, Launch] = {}

    async def save(self, launch: Launch) -> Launch:
        """Keep the launch."""
        self._kept[launch.id] = launch
        return launch

    def latest(self, launch: Launch) -> Launch:
        """Return the launch as it was kept last."""
        return self._kept.get(launch.id, launch)


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
        log.info("task.placed", **_facts(launch), adopted=placement.adopted)
        return launch

    def _tags(self, launch: Launch) -> dict[str, str]:
        return make_tags(self.deployment, launch.order_id, launch.id)

    # -- handed over -------------------------------------------------------------------------

    async def hand_over(self, launch: Launch) -> Launch:
        """Write a token for the task alone. Raises SidecarError.

        Where it is not known yet whether an earlier token was read, the launch comes back without
        `handed_over`: then call again later.
        """
        if launch.handed_over:
            return launch
        if launch.generation or launch.may_exist:
            launch, is_known = await self._find_earlier(launch)
            if launch.handed_over or not is_known:
                return launch
        launch, token = await self._make_token(launch)
        task, tags = _task(launch), self._tags(launch)
        repeated = await self.store.write(task, token, tags, lambda: self.is_online(launch))
        launch = replace(launch, handed_over=True, may_be_left=repeated or launch.may_be_left)
        launch = await self.journal.save(launch)
        log.info("token.handed_over", **_facts(launch), runner=launch.runner_name)
        return launch

    async def _find_earlier(self, launch: Launch) -> tuple[Launch, bool]:
        """Look for a token or runner of an earlier process; also whether it is known now.

        Of a token that was announced, and is not there, nobody knows whether it was never written
        or its agent has read it. An agent that has read it is online soon.
        """
        generation = launch.generation or 1
        name = identity.runner_name(self.name_prefix, _task(launch), generation)
        found = None
        if not await self.store.exists(_task(launch)):
            found = await (await self.connection.runners()).find(name)
            there = found is not None and (found.online or found.busy or not launch.generation)
            if not there:
                is_known = self.now() - launch.announced_at >= UNSETTLED_FOR
                if found is not None and is_known:
                    await self._delete_runner(name)
                return launch, is_known
        handed = replace(
            launch,
            generation=generation,
            runner_name=name,
            runner_id=found.id if found else launch.runner_id,
            handed_over=True,
            may_be_left=True,  # the process before may have written it twice
        )
        return await self.journal.save(handed), True

    async def _make_token(self, launch: Launch) -> tuple[Launch, RunnerToken]:
        for _ in range(GENERATIONS):
            before = launch
            name = self.next_runner_name(launch)
            key = _read_token_key(launch)
            # A job could read it until it is deleted.
            is_safe = key is not None or not self.seals
            keeps = is_safe and self.keeps_token is not None and await self.keeps_token()
            announced = launch.next_generation(name, self.now())
            launch = await self.journal.save(replace(announced, keeps_token=keeps))
            try:
                token = await self.maker.make(name, keep=launch.keeps_token)
            except github.NameTaken:
                await self._delete_runner(name)  # an answer was lost, and with it its token
                continue
            except SidecarError as error:
                if _is_refusal(error):  # or no credential to ask with: no runner has that name
                    await self.journal.save(replace(launch, generation=before.generation))
                raise
            launch = replace(launch, runner_id=token.runner_id)
            return launch, token.seal(key, _task(launch)) if key is not None else token
        raise github.GitHubError(f"cannot register a runner for {launch.place}: its name is taken")

    def next_runner_name(self, launch: Launch) -> str:
        """Return the name of the runner of the launch's next generation."""
        return identity.runner_name(self.name_prefix, _task(launch), launch.generation + 1)

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
        task = _task(launch)
        state = (await self.ecs.look([task])).get(identity.task_id(task))
        if state is None:
            young = self.now() - launch.placed_at < UNKNOWN_FOR
            return Look(Progress.STARTING if young else Progress.FAILED)
        if state.ended:
            return Look(Progress.SERVED if state.exit_code == Exit.DONE else Progress.FAILED, state)
        if state.stopping or state.status != "RUNNING":
            return Look(Progress.STARTING, state)
        if ask_github and launch.handed_over and await self.is_online(launch):
            return Look(Progress.ONLINE, state)
        return Look(Progress.RUNNING, state)

    async def is_online(self, launch: Launch) -> bool:
        """Ask GitHub whether the launch's runner is online, or has a job."""
        runners = await self.connection.runners()
        if launch.runner_id is not None:
            found = await runners.get(launch.runner_id)
        else:
            found = await runners.find(launch.runner_name or "")
        return found is not None and (found.online or found.busy)

    # -- cleaned up --------------------------------------------------------------------------

    async def clean_up(self, launch: Launch, reason: str) -> Cleanup:
        """Undo a launch, wait for its task's end, and look for its runner once more."""
        launch, cleanup = await self.undo(launch, reason)
        if launch.place is None or cleanup.busy or _kept(cleanup):
            return cleanup
        if _newest_generation(launch):
            await self._step(launch, "runner", self._delete_late_runners(launch), cleanup)
        if not cleanup.left:
            log.info("launch.cleaned_up", **_facts(launch), reason=reason)
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
        if await self._step(launch, "runner", self._delete_runners(launch), cleanup) == "busy":
            if not ended:
                log.info("launch.kept", **_facts(launch), reason="its runner has a job")
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
            log.error("cleanup.failed", undo=what, **_facts(launch), reason=describe(error))  # noqa: TRY400
        return None

    async def _delete_runners(self, launch: Launch) -> str:
        """Delete the runner of each generation; "busy" if one has a job."""
        for generation in range(1, _newest_generation(launch) + 1):
            name = identity.runner_name(self.name_prefix, _task(launch), generation)
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

    async def _delete_late_runners(self, launch: Launch) -> None:
        """Wait for the task's end, then look once more: its agent may just have registered."""
        try:
            async with asyncio.timeout(END_TIMEOUT):
                async for look in self.follow(launch):
                    if look.progress in ENDS:
                        break
        except TimeoutError:
            log.warning("task.still_there", **_facts(launch), seconds=END_TIMEOUT)
        await self._delete_runners(launch)


def _is_refusal(error: SidecarError) -> bool:
    """Whether GitHub has made nothing: no answer of it may be lost."""
    if isinstance(error, github.RateLimited):
        return error.tries == 1
    return not isinstance(error, github.TransientError)


def _read_token_key(launch: Launch) -> str | None:
    """Return the key that the launch's agent has; one that was started unrecorded has its own."""
    return None if launch.may_exist else read_token_key(json.loads(launch.request or "{}"))


def _newest_generation(launch: Launch) -> int:
    """Return the newest generation that may have a runner; an earlier process may have made one."""
    return launch.generation or int(launch.may_exist)


MAY_HAVE_A_JOB = "whose runner may have a job"


def _kept(cleanup: Cleanup) -> bool:
    return any(what.endswith(MAY_HAVE_A_JOB) for what in cleanup.left)


def _task(launch: Launch) -> str:
    assert launch.place is not None, "place it first"  # noqa: S101
    return launch.place


def _facts(launch: Launch) -> dict[str, Any]:
    return {"launch": launch.id, "task": launch.place, "try": launch.tries}


def explain_end(state: TaskState | None) -> str:
    """Say in one line why a task ended: AWS's reason and the agent's exit code."""
    if state is None:
        return "AWS does not know it any more"
    code = state.exit_code
    if code is None:
        return f"{state.reason or 'AWS gives no reason'}; no exit code"
    known = {int(each): each.meaning for each in Exit}
    meaning = f" ({known[code]})" if code in known else ""
    return f"{state.reason}; exit code {code}{meaning}"
