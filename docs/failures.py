"""What becomes of a life when a call fails: each call, each way to fail, the documented outcome.

`docs/failures.md` is written from this table, and tests/failures plays a whole life for each of
its cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FAULTS = {
    "time-out": "the first answer never comes, but what was asked for is done",
    "reset": "the same, and the connection is reset",
    "5xx": "the first two tries are answered 503",
    "throttle": "the first two tries are refused as too many",
    "malformed": "the first answer is a web page, and what was asked for is done",
    "403": "every try is refused",
    "404": "every try finds nothing",
    "never": "no try is ever answered",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """How a life ends: its exit code, the event that tells of the fault, what is left."""

    exit: int
    event: str
    left: tuple[str, ...] = ()
    """What `undo.failed` names: token, runner, protection."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call, a life in which it is made, and the outcome of each fault."""

    call: str
    play: str
    """Which life: see PLAYS in tests/failures."""
    where: str
    """The service: ssm, sts, ecs or github."""
    match: Mapping[str, Any]
    """Which requests: method, path, target."""
    cells: Mapping[str, Cell] = field(default_factory=dict)
