"""Say what is known of one launch, and what each step of it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

MOST_REASONS, LONGEST_REASON = 20, 300
LONGEST_TEXT = 64 * 1024
"""Characters of a request or a demand; an item of DynamoDB holds 400 KB."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch as it is written down. Its methods return what is to be written next."""

    id: str
    """A pure function of deployment, scope and key."""
    pool: str
    demand: str
    """The demand that asked for it, in JSON."""
    first_seen: float
    order: str = ""
    """The id of what was asked for, where several launches belong to it."""
    may_exist: bool = False
    """Whether an earlier process may have begun it unrecorded: then what exists is looked for."""
    tries: int = 1
    """Raised when a launch that was placed ended without serving."""
    failures: int = 0
    """The tries that ended by a fault; a theft or an approval is none."""
    round: int = 1
    """Raised when all of the pool's capacities refused."""
    step: int = 0
    """The number of the pool's capacity that is asked, from 0."""
    pace: str | None = None
    """The line in which it has a turn, while it waits to start its task."""
    turn: int = 0
    """Its place in that line."""
    due: float = 0.0
    """When its turn comes, as far as was known when it was put off."""
    request: str | None = None
    """The exact request of this step to AWS; stored before it is sent."""
    place: str | None = None
    """The task's ARN or the instance's id, once there is one."""
    placed_at: float = 0.0
    generation: int = 0
    """Of the runner's token; stored before it is minted."""
    announced_at: float = 0.0
    """The time at which that generation was stored."""
    runner_name: str | None = None
    runner_id: int | None = None
    handed_over: bool = False
    """Whether this generation's token was written where the agent finds it."""
    keeps_token: bool = False
    """Whether its agent leaves the token's parameter to the launcher."""
    may_be_left: bool = False
    """Whether its token was perhaps written twice: then its agent deletes one alone."""
    online: bool = False
    taken_at: float = 0.0
    """When its task was first seen to have ended with another job's; 0: it was not."""
    served: bool = False
    thefts: int = 0
    """The times that another job took its runner."""
    given_up: str | None = None
    """The reason why nobody tries any more."""
    ended: bool = False
    """Whether all that it started is cleaned up."""
    reasons: tuple[str, ...] = ()
    """The mishaps so far, the latest last."""
    counters: tuple[str, ...] = ()
    """The counters in which it takes a place now."""
    lease_holder: str | None = None
    lease_until: float = 0.0
    version: int = 0
    """0: it was never written."""
    write: str = ""
    """The id of the write that made this version."""

    @property
    def order_id(self) -> str:
        """Return the id of what was asked for."""
        return self.order or self.id

    @property
    def settled(self) -> bool:
        """Whether nobody needs to start anything more for it."""
        return self.served or self.given_up is not None

    @property
    def task(self) -> str:
        """Return the task or instance that was placed for it."""
        assert self.place is not None, "place it first"  # noqa: S101
        return self.place

    @property
    def newest_generation(self) -> int:
        """Return the newest generation that may have a runner; an earlier process may have one."""
        return self.generation or int(self.may_exist)

    @property
    def facts(self) -> dict[str, Any]:
        """Return what an event about it names."""
        return {"launch": self.id, "task": self.place, "try": self.tries}

    @property
    def client_token_parts(self) -> tuple[str, int, int, int]:
        """Return what AWS's client token is made of; its content is no part of it."""
        return self.id, self.tries, self.round, self.step

    def with_request(self, request: str) -> Launch:
        """Set what is sent in this step. What is stored already stays: it may have been sent."""
        if self.request is not None:
            return self
        if len(request) > LONGEST_TEXT:
            raise ValueError(f"a request of {len(request)} characters is too long for the record")
        return replace(self, request=request)

    def next_step(self, reason: str) -> Launch:
        """Go on to the pool's next capacity: this one was definitely refused."""
        return replace(self.with_reason(reason), step=self.step + 1, request=None)

    def next_round(self, reason: str) -> Launch:
        """Begin with the first capacity again: all were refused."""
        later = self.with_reason(reason)
        return replace(later, round=self.round + 1, step=0, request=None)

    def next_try(self, reason: str) -> Launch:
        """Begin anew: what was placed has ended without serving."""
        later = self.with_reason(reason)
        return replace(
            later,
            tries=self.tries + 1,
            round=1,
            step=0,
            pace=None,
            turn=0,
            due=0.0,
            request=None,
            place=None,
            placed_at=0.0,
            generation=0,
            announced_at=0.0,
            may_exist=False,
            runner_name=None,
            runner_id=None,
            handed_over=False,
            keeps_token=False,
            may_be_left=False,
            online=False,
            taken_at=0.0,
            ended=False,
        )

    def placed(self, place: str, now: float = 0.0) -> Launch:
        """Set the task or instance that was started for it."""
        return replace(self, place=place, placed_at=now)

    def next_generation(self, runner_name: str, now: float = 0.0) -> Launch:
        """Announce the next token, before it is minted, and the name of its runner."""
        return replace(
            self,
            generation=self.generation + 1,
            announced_at=now,
            runner_name=runner_name,
            runner_id=None,
            handed_over=False,
        )

    def stolen(self, reason: str) -> Launch:
        """Count that another job took the runner."""
        return replace(self.with_reason(reason), thefts=self.thefts + 1)

    def give_up(self, reason: str) -> Launch:
        """Set why nobody tries any more."""
        return replace(self.with_reason(reason), given_up=reason[:LONGEST_REASON])

    def with_reason(self, reason: str) -> Launch:
        """Add a reason; the last MOST_REASONS are kept, and one that repeats is kept once."""
        short = reason[:LONGEST_REASON]
        if self.reasons[-1:] == (short,):
            return self
        return replace(self, reasons=(*self.reasons, short)[-MOST_REASONS:])
