"""Say what one line of a story is, and how a text of others is made fit to be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING

from sidecar import values
from sidecar.log import masks

if TYPE_CHECKING:
    from datetime import datetime

LONGEST = 400
"""Characters of a text of somebody else's that one line shows."""
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""What moves a terminal's cursor or changes its colors."""


class Source(StrEnum):
    """Whoever tells a line."""

    GITHUB = "github"
    WEBHOOK = "webhook"
    POOLS = "pools"
    RECORD = "record"
    QUEUE = "queue"
    ECS = "ecs"
    EC2 = "ec2"
    SSM = "ssm"
    AGENT = "agent"
    LAUNCHER = "launcher"


class Mark(StrEnum):
    """The meaning of a line for the job."""

    NOTE = ""
    DONE = "ok"
    WAITS = "waits"
    FAILED = "FAILED"
    UNSEEN = "unseen"
    """It could not be asked, or is gone: what would stand here is not known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a story."""

    source: Source
    text: str
    at: float | None = None
    """In seconds since 1970; None where no source tells it."""
    mark: Mark = Mark.NOTE
    advice: str = ""
    """What to change."""
    after: float | None = None
    """The moment after which an entry without a time of its own stands."""
    task: str = ""
    """The task or machine that it is about, by its id."""

    @property
    def place(self) -> float:
        """Return its place in the timeline."""
        return self.at if self.at is not None else self.after or 0.0


def clean(text: object, longest: int = LONGEST) -> str:
    """Return a text of somebody else's on one line, without secrets and control characters."""
    line = _SEQUENCE.sub(" ", str(text))
    # A space stands for each of them: a secret is recognised by where its word begins.
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in line).split())
    masked = str(masks.mask_known_secrets(masks.mask_likely_secrets(line)))
    return masked if len(masked) <= longest else f"{masked[: longest - 1]}…"


def read_time(text: object) -> float | None:
    """Read a time of GitHub's or of a log's; None where there is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = values.parse_time(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def read_moment(moment: datetime | None) -> float | None:
    """Read a time of AWS's library."""
    return moment.timestamp() if moment is not None else None


def seconds(number: float) -> str:
    """Return a length of time as people say it."""
    whole = max(0, round(number))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
