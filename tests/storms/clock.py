"""Virtual time for the launcher's code, and processes that die at any await.

A process is a tree of asyncio tasks. When it dies, none of its tasks goes on: no `finally` runs,
no lock is released, as after SIGKILL. Between two awaits nobody sees what a process does, so a
death at each await stands for a death at each line.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import time
import types
import uuid
import warnings
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any
from unittest import mock

from bench.virtual import run_virtually

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine, Iterator

EPOCH = 1_800_000_000.0
"""The second since 1970 at which a storm begins."""
PARTS = ("launcher", "sidecar")
ENDS = 100
"""Times that a dropped coroutine is closed: each `finally` with an await in it needs one."""
_process: ContextVar[Process | None] = ContextVar("process", default=None)


class Process:
    """A program that may die; `steps` is how many awaits it survives (None: all)."""

    def __init__(self, name: str, steps: int | None = None) -> None:
        self.name = name
        self.died = asyncio.Event()
        self.tasks: list[asyncio.Task[Any]] = []
        """All that were ever begun: asyncio keeps no reference to one that waits for ever."""
        self._steps = steps
        self._frozen: list[Coroutine[Any, Any, Any]] = []
        loop: Any = asyncio.get_running_loop()
        loop.processes.append(self)

    @property
    def dead(self) -> bool:
        """Whether it has died."""
        return self.died.is_set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` in it; what it starts belongs to it too."""
        context = copy_context()
        context.run(_process.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def kill(self) -> None:
        """Die now."""
        self.died.set()

    def survive(self) -> None:
        """Die no more."""
        self._steps = None

    def step(self) -> None:
        """Count one await; it may be the last."""
        if self._steps is not None and not self.dead:
            self._steps -= 1
            if self._steps <= 0:
                self.kill()

    def keep(self, work: Coroutine[Any, Any, Any]) -> None:
        """Keep what was dropped: the garbage collector would run its `finally` blocks."""
        self._frozen.append(work)

    def bury(self) -> None:
        """End what was kept, when nobody looks any more."""
        with warnings.catch_warnings():
            # What such a coroutine was about to await was never begun.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            for work in self._frozen:
                for _ in range(ENDS):
                    with contextlib.suppress(BaseException):
                        work.close()
                        break
            self._frozen.clear()


class _Mortal:
    """Drives a coroutine for as long as its process lives."""

    def __init__(self, work: Coroutine[Any, Any, Any], process: Process) -> None:
        self._work, self._process = work, process

    def __await__(self) -> Any:
        value: Any = None
        error: BaseException | None = None
        while not self._process.dead:
            try:
                waited = self._work.send(value) if error is None else self._work.throw(error)
            except StopIteration as ended:
                return ended.value
            self._process.step()
            value = error = None
            try:
                value = yield waited
            except BaseException as raised:  # noqa: BLE001  it is the coroutine's to handle
                error = raised
        self._process.keep(self._work)
        loop: Any = asyncio.get_running_loop()
        while not getattr(loop, "is_over", False):
            with contextlib.suppress(asyncio.CancelledError):  # a dead process feels no time-out
                yield from loop.create_future()
        raise asyncio.CancelledError


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
) -> asyncio.Task[Any]:
    context = options.get("context")
    process = context.get(_process) if context is not None else _process.get()
    if process is None:
        return asyncio.Task(work, loop=loop, **options)

    async def live() -> Any:
        return await _Mortal(work, process)

    task = asyncio.Task(live(), loop=loop, **options)
    process.tasks.append(task)
    return task


def start_outside(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run `work` of a peer: it goes on when the process dies whose call began it."""
    context = copy_context()
    context.run(_process.set, None)
    return asyncio.get_running_loop().create_task(work, context=context)


def find_process() -> str:
    """Return the name of the process that runs now; empty in none."""
    process = _process.get()
    return process.name if process is not None else ""


def now() -> float:
    """Return the virtual time in seconds since 1970."""
    return EPOCH + asyncio.get_running_loop().time()


def run(work: Callable[[], Coroutine[Any, Any, Any]], seed: str, chance: random.Random) -> Any:
    """Run `work` on virtual time, with processes that may die in it."""

    async def whole() -> Any:
        loop: Any = asyncio.get_running_loop()
        loop.set_task_factory(_make_task)
        loop.processes = []
        # A dropped generator is dropped as its process is: nothing ends it later.
        sys.set_asyncgen_hooks(firstiter=_leave_alone, finalizer=_leave_alone)
        try:
            return await work()
        finally:
            loop.is_over = True
            await _end_all(loop.processes)

    with _virtual_clocks(), _numbered_ids(chance):
        return run_virtually(whole(), hash_seed(seed))


def _leave_alone(_: object) -> None:
    """Do nothing."""


async def _end_all(processes: list[Process]) -> None:
    """End every task, and what the dead processes left."""
    for process in processes:
        process.kill()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for process in processes:
        process.bury()


def hash_seed(seed: str) -> int:
    """Make a number of a seed, the same in each process."""
    return int.from_bytes(seed.encode(), "big") % 2**31


@contextlib.contextmanager
def _numbered_ids(chance: random.Random) -> Iterator[None]:
    def make() -> uuid.UUID:
        return uuid.UUID(int=chance.getrandbits(128), version=4)

    with mock.patch.object(uuid, "uuid4", make):
        yield


@contextlib.contextmanager
def _virtual_clocks() -> Iterator[None]:
    """Let the launcher's code read the loop's clock, also where a clock is a default argument."""
    real = {time.time: _virtual_time, time.monotonic: _virtual_monotonic}
    changed: list[tuple[Any, Any, Any]] = []
    for function in _functions():
        before = (function.__defaults__, function.__kwdefaults__)
        values = [*(before[0] or ()), *(before[1] or {}).values()]
        if not any(isinstance(each, types.BuiltinFunctionType) and each in real for each in values):
            continue
        changed.append((function, *before))
        if before[0]:
            function.__defaults__ = tuple(_swap(real, each) for each in before[0])
        if before[1]:
            function.__kwdefaults__ = {key: _swap(real, it) for key, it in before[1].items()}
    try:
        with mock.patch.object(time, "time", _virtual_time):
            yield
    finally:
        for function, defaults, keywords in changed:
            function.__defaults__, function.__kwdefaults__ = defaults, keywords


def _swap(real: dict[Any, Any], value: Any) -> Any:
    return real[value] if isinstance(value, types.BuiltinFunctionType) and value in real else value


_real_time, _real_monotonic = time.time, time.monotonic


def _virtual_time() -> float:
    try:
        return now()
    except RuntimeError:  # no loop runs: before or after the storm
        return _real_time()


def _virtual_monotonic() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return _real_monotonic()


def _functions() -> Iterator[Any]:
    seen: set[int] = set()
    modules = [sys.modules[name] for name in sorted(sys.modules) if name.split(".")[0] in PARTS]
    for module in modules:
        for owner in [module, *(it for it in vars(module).values() if inspect.isclass(it))]:
            if owner is not module and not owner.__module__.startswith(PARTS):
                continue
            for found in list(vars(owner).values()):
                function = inspect.unwrap(getattr(found, "__func__", found))
                if inspect.isfunction(function) and id(function) not in seen:
                    seen.add(id(function))
                    yield function
