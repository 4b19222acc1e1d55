"""Run the cleanup steps of a life: side by side, within the stop budget, none fatal to another."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import structlog

from sidecar.shutdown.budget import CANCELLED_STEP, HURRIED_STEP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sidecar.shutdown.stop import Stop

    Action = Callable[[], Awaitable[str | None]]

log = structlog.get_logger()

STATES = ("pending", "done", "failed")


class When(IntEnum):
    """The time at which a step may begin; a job goes on for a while after its interrupt."""

    ANY_TIME = 1
    """No job needs what it removes."""
    JOB_ENDED = 2
    """When the last process of the job is dead; its containers may still run."""
    LAST = 3
    """When the job's containers are removed too: these steps remove what keeps a job within its
    bounds (network rules, docker proxy), and the folder that it works in."""


class CleanupStep:
    """One cleanup step. It may be begun any number of times; it succeeds once."""

    def __init__(self, name: str, action: Action, when: When = When.ANY_TIME) -> None:
        self.name = name
        self.when = when
        self.result = "done"
        """How it was done, where there is more than one way."""
        self.error: str | None = None
        """Why the last attempt failed."""
        self.retry_reason: str | None = None
        """Why the action last tried again by itself."""
        self.done = False
        self._action = action
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> Literal["pending", "done", "failed"]:
        """Return how far it is; a failed step may still be begun again."""
        return "done" if self.done else "pending" if self.error is None else "failed"

    def begin(self) -> asyncio.Task[None]:
        """Start the action, unless it runs or has succeeded; return its task.

        The task never raises: what failed is in `error`, and logged once when the life ends.
        """
        if self._task is None or (self._task.done() and not self.done):
            self._task = asyncio.create_task(self._run(), name=f"cleanup-{self.name}")
        return self._task

    def runs_in(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether `task` is the attempt that runs now."""
        return task is not None and task is self._task

    async def cancel(self, reason: str) -> None:
        """Cancel the attempt that runs, if one does; `reason` becomes the step's error."""
        if self._task is not None and not self._task.done():
            self.error = reason  # set now: the action may not end within the wait
            self._task.cancel(reason)
            await asyncio.wait([self._task], timeout=CANCELLED_STEP)

    async def _run(self) -> None:
        try:
            result = await self._action()
        except asyncio.CancelledError as cancelled:
            self.error = str(cancelled) or "cancelled"
            if self.retry_reason is not None:
                self.error += f"; its last try: {self.retry_reason}"
        except Exception as error:  # noqa: BLE001  a failing step must not keep another from running
            self.error = str(error) or repr(error)
            if isinstance(error, TimeoutError) and not error.args:  # it has no text of its own
                self.error = "one of its deadlines passed"
                if self.retry_reason is not None:
                    self.error += f"; its last try: {self.retry_reason}"
        else:
            self.error, self.done, self.result = None, True, result or self.result


class CleanupStack:
    """The cleanup steps of one life."""

    def __init__(self) -> None:
        self.steps: list[CleanupStep] = []

    def register_step(
        self, name: str, action: Action, *, when: When = When.ANY_TIME
    ) -> CleanupStep:
        """Register `action` to run before the life ends; call this before what it cleans up.

        The action must be idempotent and retry by itself. The text that it returns, if any, says
        how it was done. `when` says how much of the job must have ended before.
        """
        cleanup_step = CleanupStep(name, action, when)
        self.steps.append(cleanup_step)
        return cleanup_step

    def begin_steps(self, when: When, skip: CleanupStep | None = None) -> None:
        """Begin every step that may begin by now, but not `skip`."""
        for cleanup_step in self.steps:
            if cleanup_step.when <= when and cleanup_step is not skip:
                cleanup_step.begin()

    def note_retry(self, reason: str) -> None:
        """Note why the step that runs in the current task tries again."""
        current = asyncio.current_task()
        for cleanup_step in self.steps:
            if cleanup_step.runs_in(current):
                cleanup_step.retry_reason = reason

    @property
    def not_done(self) -> dict[str, str]:
        """The steps that have not succeeded, and why; final once `run_cleanup` has ended."""
        return {
            cleanup_step.name: cleanup_step.error or "not begun"
            for cleanup_step in self.steps
            if not cleanup_step.done
        }


@asynccontextmanager
async def run_cleanup(cleanup_stack: CleanupStack, stop: Stop) -> AsyncIterator[None]:
    """On leaving the block, run every step that is not done, side by side, within the budget."""
    try:
        yield
    finally:
        stop.start_clock()
        if tasks := [cleanup_step.begin() for cleanup_step in cleanup_stack.steps]:
            await stop.wait_for_steps(tasks, lambda budget: budget.end)
        reason = "the stop budget is used up (SIDECAR_STOP_TIMEOUT)"
        if stop.hurried and stop.left_until(stop.budget.end):
            reason = f"not done {HURRIED_STEP:g} s after a third signal"
        for cleanup_step in cleanup_stack.steps:
            await cleanup_step.cancel(reason)
        for name, reason in cleanup_stack.not_done.items():
            log.error("cleanup.failed", undo=name, reason=reason)
