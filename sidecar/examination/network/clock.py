"""Check this machine's clock against the servers' own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar.examination.finding import Finding, failed, ok, unknown, warning
from sidecar.examination.probe import Answer, NoAnswer
from sidecar.net.clock import NOTABLE

if TYPE_CHECKING:
    from sidecar.examination.surroundings import Surroundings

REFUSED = 60.0
"""Seconds. GitHub refuses an App's key from 60 s on (`sidecar.github.credentials`), AWS a signature
from 300 s on."""
AWS_REFUSES = 300.0
CHANGE = "set the clock of the machine: chrony with 169.254.169.123, Amazon's time"


async def check(setup: Surroundings) -> list[Finding]:
    """Compare with the date that GitHub and AWS answer with."""
    urls = await setup.list_urls()
    answers = await asyncio.gather(*(_ask(setup, url) for url in urls))
    dates = [answer.date for answer in answers if answer is not None and answer.date is not None]
    if not dates:
        return [unknown("no server told its time", "see the lines dns, proxy and github")]
    now = datetime.now(UTC)
    # Servers that agree with this clock speak for it: one of them may be wrong itself.
    off = min(((now - date).total_seconds() for date in dates), key=abs)
    if abs(off) < NOTABLE:
        return [ok(f"right, by {len(dates)} servers")]
    text = f"the clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"
    if abs(off) >= AWS_REFUSES:
        return [failed(f"{text}: AWS refuses what is signed with it", CHANGE)]
    if abs(off) >= REFUSED and setup.signs_for_github:
        return [failed(f"{text}: GitHub refuses what the App signs", CHANGE)]
    return [warning(text, CHANGE)]


async def _ask(setup: Surroundings, url: str) -> Answer | None:
    try:
        return await setup.ask(url)
    except NoAnswer:
        return None
