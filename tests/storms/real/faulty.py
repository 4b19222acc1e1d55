"""Faults that somebody could build into the launcher; as a program: the launcher with one of them.

Each has a small storm in which it must show, and what the verdict then says.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from launcher.handing_over import HandingOver
from tests.storms.mutations import MUTATIONS
from tests.storms.real.plan import Death, Life, Plan, Turn, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable


PATIENCE = 120.0
"""Seconds for which tasks are held back until the fault has acted, at most."""


@dataclass(frozen=True)
class Fault:
    """One fault."""

    patch: Callable[[], Any]
    shown: str
    """Part of what the verdict then says."""
    plan: Plan
    """With all the time that it needs to show, on a busy machine: what it waits for comes."""


def _token_is_made_anew() -> Any:
    """Hand over without a look at what was handed over before."""

    async def mutated(self: HandingOver, launch: Any) -> Any:
        return launch, True

    return mock.patch.object(HandingOver, "_find_earlier", mutated)


def _message_goes_first() -> Any:
    """Delete a message before it is handled."""
    from launcher import serve
    from launcher.demand import queue

    async def mutated(own: Any, received: Any, worker: Any) -> bool:
        await own.delete(received)
        return await queue.take(own, received.message, worker)

    return mock.patch.object(serve, "process", mutated)


def _plan(name: str, death: Death | None, turn: Turn = Turn.RUN, **more: Any) -> Plan:
    """Make a storm of one job, and of one worker that may die once."""
    lives = (Life(death=death), Life()) if death else (Life(),)
    return Plan(name, (Wanted("job 0", turn, 0),), (lives,), held_for=PATIENCE, **more)


FAULTS: dict[str, Fault] = {
    "a request is made anew each time": Fault(
        MUTATIONS["a request is made anew each time"].patch,
        "two living",
        _plan("request", Death("RunTask", 1, True)),
    ),
    "a token is made anew each time": Fault(
        _token_is_made_anew,
        "'runners': ['",
        _plan("token", Death("PutParameter", 1, True), held_back=True, registered=2),
    ),
    "a message is deleted before its work": Fault(
        _message_goes_first,
        "is still queued",
        _plan("message", Death("RunTask", 1, False), patience=25.0),  # a call for the message alone
    ),
    "the parameter is not deleted": Fault(
        MUTATIONS["the parameter is not deleted"].patch,
        "'tokens': ['",
        _plan("parameter", None, Turn.CANCEL_REGISTERED, held_back=True, registered=2),
    ),
}


def command(name: str) -> tuple[str, ...]:
    """Return what starts the launcher with a fault."""
    return (sys.executable, "-m", "tests.storms.real.faulty", name)


def main() -> int:
    """Run the launcher with a fault."""
    name = sys.argv.pop(1)
    with FAULTS[name].patch():
        from launcher.__main__ import main as launch

        return int(launch() or 0)


if __name__ == "__main__":
    sys.exit(main())
