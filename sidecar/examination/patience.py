"""Say how long the doctor waits: for a whole check, and for what a check asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

DEFAULT, LEAST, MOST = 10.0, 1.0, 600.0
"""Seconds for a check."""
REQUEST_SHARE, AWS_SHARE = 0.5, 0.6
"""The share for one request, and for one call of AWS with all that it needs: what a check has
found till then is still told."""
AWS_TRIES = 2
"""How often AWS is asked, where it does not answer: one lost packet is no wrong set-up."""
AWS_ERRORS = 3
"""The same where it answers with an error that may pass, or nobody listens: whoever waits for the
doctor learns sooner what is wrong, and pauses would only use up the time."""
GITHUB_TRIES = 2
"""The same of GitHub."""
EMPTY_TRIES = 3
"""How often the task metadata are asked; each takes 1.5 s at most (`sidecar.aws.task_metadata`)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The seconds that one check may take."""

    check: float = DEFAULT

    @property
    def request(self) -> float:
        """Seconds for one request."""
        return self.check * REQUEST_SHARE

    @property
    def aws(self) -> float:
        """Seconds for one call of AWS, the credentials for it included."""
        return self.check * AWS_SHARE


async def retry_empty(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the answer is empty, a few times: the ECS agent may be slow for a moment."""
    for _ in range(EMPTY_TRIES - 1):
        if answer := await ask():
            return answer
    return await ask()
