"""An event loop on virtual time: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import random
import selectors
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar
from unittest import mock

import tenacity
from structlog.testing import capture_logs

from sidecar.net import retry

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Any

    T = TypeVar("T")


class Stuck(RuntimeError):
    """All tasks wait, and no timer is left."""


class _Selector(selectors.DefaultSelector):
    """Waits for no file: the time that it would wait is added to the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Stuck("all tasks wait, and no timer is left")
        self.now += max(0.0, timeout)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop that begins at second 0 and never waits."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._clock.now


def run_virtually(work: Coroutine[Any, Any, T], seed: int) -> T:
    """Run `work` on virtual time; the same seed gives the same run. Logs nothing."""
    before = random.getstate()
    random.seed(seed)
    try:
        with (
            asyncio.Runner(loop_factory=Loop) as runner,
            _virtual_retries(runner.get_loop()),
            capture_logs(),
        ):
            return runner.run(work)
    finally:
        random.setstate(before)


@contextmanager
def _virtual_retries(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let retries read this loop's clock: they sleep on the loop, but read another.

    Else a slow machine would use up the seconds for which a call is tried.
    """
    clock = SimpleNamespace(monotonic=loop.time)
    with mock.patch.object(tenacity, "time", clock), mock.patch.object(retry, "time", clock):
        yield
