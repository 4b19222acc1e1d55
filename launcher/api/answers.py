"""Say what a request is answered."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request: a status and a JSON object."""

    status: int
    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The request is answered without anything being started."""

    def __init__(self, status: int, reason: str, *, again_in: float | None = None) -> None:
        super().__init__(reason)
        self.answer = make_error(status, reason, again_in=again_in)


def make_error(status: int, reason: str, *, again_in: float | None = None) -> Answer:
    """Make the answer that says why not; `again_in` are seconds until it is worth another try."""
    headers = {} if again_in is None else {"retry-after": str(max(1, math.ceil(again_in)))}
    return Answer(status, {"error": reason}, headers)
