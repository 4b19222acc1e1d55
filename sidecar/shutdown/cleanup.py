"""What is owed, and how it is given back: side by side, within one budget, never fatally."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sidecar.shutdown.stop import Stop

log = structlog.get_logger()


class CleanupStep:
    """One clean-up step. It may be begun any number of times and is done once."""

    def __init__(self, name: str, action: Callable[[], Awaitable[str | None]]) -> None:
        self.name = name
        self.how = "done"
        """How it was given back, where there is more than one way."""
        self.error: str | None = None
        self.trouble: str | None = None
        """Why it tried again, the last time that it did."""
        self.done = False
        self._action = action
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """How far it is: owed, done, or failed (so far: it may be begun anew)."""
        return "done" if self.done else "pending" if self.error is None else "failed"

    def begin(self) -> asyncio.Task[None]:
        """Start giving back, unless that is under way or done; a step that failed starts anew.

        The task returned never fails: what went wrong is told once, at the end of the farewell.
        """
        if self._task is None or (self._task.done() and not self.done):
            self._task = asyncio.create_task(self._run(), name=f"undo-{self.name}")
        return self._task

    def runs_in(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether `task` is the attempt that is under way."""
        return task is not None and task is self._task

    async def cancel(self, reason: str) -> None:
        """Cut the attempt that is under way."""
        if self._task is not None and not self._task.done():
            self.error = reason  # in case it takes longer than the wait to let go
            self._task.cancel(reason)
            await asyncio.wait([self._task], timeout=0.1)

    async def _run(self) -> None:
        try:
            how = await self._action()
        except asyncio.CancelledError as cut:
            self.error = str(cut) or "cut short"
            if self.trouble is not None:
                self.error += f"; its last try: {self.trouble}"
        except Exception as error:  # noqa: BLE001  one undo must never keep another from running
            self.error = str(error) or repr(error)
        else:
            self.error, self.done, self.how = None, True, how or self.how


class CleanupStack:
    """The debts of one life."""

    def __init__(self) -> None:
        self.steps: list[CleanupStep] = []

    def register_step(self, name: str, action: Callable[[], Awaitable[str | None]]) -> CleanupStep:
        """Promise to run `action` before the end; it is idempotent and retries by itself.

        What it returns, if anything, tells how it was given back.
        """
        cleanup_step = CleanupStep(name, action)
        self.steps.append(cleanup_step)
        return cleanup_step

    def note_retry(self, reason: str) -> None:
        """Note why the step whose task this is tries again: cut short, it can say no more."""
        current = asyncio.current_task()
        for cleanup_step in self.steps:
            if cleanup_step.runs_in(current):
                cleanup_step.trouble = reason

    @property
    def not_done(self) -> dict[str, str]:
        """What could not be given back, and why; complete once the farewell is over."""
        return {
            cleanup_step.name: cleanup_step.error or "not begun"
            for cleanup_step in self.steps
            if not cleanup_step.done
        }


@asynccontextmanager
async def run_cleanup(cleanup_stack: CleanupStack, stop: Stop) -> AsyncIterator[None]:
    """Settle on leaving, side by side, all that came to be owed within the block."""
    try:
        yield
    finally:
        stop.start_clock()
        if tasks := [cleanup_step.begin() for cleanup_step in cleanup_stack.steps]:
            await asyncio.wait(tasks, timeout=stop.left_until(stop.budget.end))
        for cleanup_step in cleanup_stack.steps:
            await cleanup_step.cancel("the stop budget is used up (SIDECAR_STOP_TIMEOUT)")
        for name, reason in cleanup_stack.not_done.items():
            log.error("cleanup.failed", undo=name, reason=reason)
