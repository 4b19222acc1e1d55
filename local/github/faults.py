"""Misbehaviour on order: answers that are late, wrong, lost or never come."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class WrongFaultError(ValueError):
    """A fault that cannot be had."""


@dataclass
class Fault:
    """What happens to the next `count` calls whose name fits the pattern `call`.

    `delay` (seconds) comes first; then `hang` never answers, `drop` closes the connection,
    `status` answers with it (and `body`, `headers`). With none of the three the call goes on as
    ever. `after` is true where the call is to take effect before its answer is lost.
    """

    call: str
    count: int = 1
    delay: float = 0.0
    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False
    after: bool = False


class Faults:
    """The faults that are still to come, in the order they were asked for."""

    def __init__(self) -> None:
        self._coming: list[Fault] = []

    def add(self, wanted: Mapping[str, Any]) -> Fault:
        """Order a fault; a count of -1 never ends. Raises WrongFaultError."""
        names = {each.name for each in fields(Fault)}
        if unknown := set(wanted) - names:
            raise WrongFaultError(f"no such key: {', '.join(sorted(unknown))}")
        if not isinstance(wanted.get("call"), str):
            raise WrongFaultError('"call" must name a call, as delete-runner or *')
        fault = Fault(**wanted)
        self._coming.append(fault)
        return fault

    def clear(self) -> None:
        """Behave again."""
        self._coming.clear()

    def next(self, call: str) -> Fault | None:
        """Take the first one that is meant for `call`."""
        for fault in self._coming:
            if fnmatch.fnmatch(call, fault.call):
                fault.count -= 1
                if fault.count == 0:
                    self._coming.remove(fault)
                return fault
        return None
