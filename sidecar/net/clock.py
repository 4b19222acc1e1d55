"""Compare this machine's clock with a peer's, by the `Date` of an answer (RFC 9110, 6.6.1)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTABLE = 30.0
"""Seconds that two clocks may differ before an error says so: an answer takes some itself."""


def find_clock_error(headers: Mapping[str, str], now: float, peer: str) -> str | None:
    """Say by how much this machine's clock is wrong; None where it is not, or nothing tells.

    `headers`: of an answer of `peer`, with names in lower case or in any. `now`: in seconds since
    1970, as this machine has it.
    """
    written = headers.get("date") or headers.get("Date")
    if not written:
        return None
    try:
        ahead = now - parsedate_to_datetime(written).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    if abs(ahead) < NOTABLE:
        return None
    where = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {abs(ahead):.0f} s {where} {peer}'s: set it right"
