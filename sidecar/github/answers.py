"""GitHub's answers: decode a body, and take checked fields out of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

from sidecar import values
from sidecar.github.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import aiohttp

LONGEST_BODY = 1 << 20
LONGEST_TEXT = 300
"""Characters of an answer's own words that an error repeats."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, decoded body (None where there is none), and headers."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def message(self) -> str:
        """GitHub's own words about an error, if there are any."""
        return (
            str(self.body.get("message", ""))[:LONGEST_TEXT] if isinstance(self.body, dict) else ""
        )


async def read_answer(response: aiohttp.ClientResponse) -> Answer:
    """Read the body, up to LONGEST_BODY, and decode it. Raises ValueError for a 2xx of no JSON."""
    raw = await _read_body(response)
    return Answer(response.status, decode(raw, response.status), response.headers)


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.readexactly(LONGEST_BODY)  # read() may give a part
    except asyncio.IncompleteReadError as whole:
        return whole.partial


def decode(raw: bytes, status: int) -> Any:
    """Decode JSON, with a BOM or without; None for an empty body.

    An error may come as text, which then is its `message`. Raises ValueError for a success.
    """
    import json

    if not raw.strip():
        return None
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        if status < 300:
            raise ValueError("GitHub's answer is no JSON") from None
        return {"message": raw[:LONGEST_TEXT].decode(errors="replace")}


def read_field(body: Any, name: str, kind: type = object) -> Any:
    """Return one field of an answer. Raises TransientError if it is missing or of another kind."""
    found = body.get(name) if isinstance(body, dict) else None
    if found is None or not isinstance(found, kind):
        raise TransientError(f"GitHub's answer holds no {name}")
    return found


def read_number(body: Any, name: str) -> int:
    """Return a number of an answer. Raises TransientError."""
    return int(read_field(body, name, int))


def read_moment(body: Any, name: str) -> datetime:
    """Return a date-time of an answer, in UTC where it has no zone. Raises TransientError."""
    try:
        moment = values.parse_time(read_field(body, name, str))
    except ValueError:
        raise TransientError(f"GitHub's answer holds no moment in {name}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
