"""Misbehaviour on order: answers that are late, wrong, lost or never come."""

import asyncio
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class WrongFaultError(ValueError):
    """A fault that cannot be had."""


@dataclass
class Fault:
    """A fault of the next `count` calls whose name fits the pattern `call`.

    A pattern with a blank is compared with method and path, as in `POST /broker/session`.
    `seconds` makes it end so long after its first call, whatever `count` says.

    `gate` comes first: an event that code of this process sets, and that is waited for. Then
    `delay` (seconds) has its turn; then `hang` never answers, `drop` closes the connection,
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
    seconds: float = 0.0
    until: float = 0.0
    gate: asyncio.Event | None = None


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
        if not isinstance(wanted.get("gate"), asyncio.Event | None):
            raise WrongFaultError('"gate" is only for code of this process')
        fault = Fault(**wanted)
        if fault.seconds:
            fault.count = -1
        self._coming.append(fault)
        return fault

    def clear(self) -> None:
        """Behave again."""
        self._coming.clear()

    def next(self, name: str, call: str, now: float) -> Fault | None:
        """Take the first one that is meant for the call of this name, or this method and path."""
        for fault in list(self._coming):
            if fault.seconds and not fault.until:
                fault.until = now + fault.seconds
            if fault.until and fault.until <= now:
                self._coming.remove(fault)
            elif fnmatch.fnmatch(name, fault.call) or fnmatch.fnmatch(call, fault.call):
                fault.count -= 1
                if fault.count == 0:
                    self._coming.remove(fault)
                return fault
        return None
