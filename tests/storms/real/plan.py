"""Draw from a seed all that happens in a storm of real processes."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from local import ecs
from local.faults import Rule

READS = ("GetItem", "ReceiveMessage", "DescribeTasks")
WRITES = ("UpdateItem", "TransactWriteItems", "PutParameter", "SendMessage", "DeleteMessage")
PLACES = ("RunTask", "StopTask")
REFUSALS = ("ThrottlingException", "InternalServerError")
MOMENTS = (
    *(("RunTask", 2), ("RunTask", 5), ("PutParameter", 3), ("PutParameter", 3), ("StopTask", 1)),
    *(("UpdateItem", 30), ("TransactWriteItems", 6), ("SendMessage", 6), ("DeleteMessage", 8)),
    *((None, 60), (None, 200)),
)
"""Calls of AWS at which a worker may die, and until which one of its kind; None: any call."""


class Turn(StrEnum):
    """A job's fate, beside that it runs."""

    RUN = "run"
    CANCEL_QUEUED = "cancelled as soon as it is queued"
    CANCEL_PLACED = "cancelled when ECS was asked for another task"
    CANCEL_REGISTERED = "cancelled when another runner is registered"
    CANCEL_RUNNING = "cancelled while it runs"
    RERUN = "run again after its end"
    APPROVE = "approved after it was queued"


@dataclass(frozen=True)
class Wanted:
    """A job that comes."""

    name: str
    turn: Turn
    after: int
    """It comes when ECS was asked for so many tasks."""


@dataclass(frozen=True)
class Death:
    """The moment at which a process is killed: at one of its calls of AWS."""

    call: str | None
    """The operation; None: any."""
    number: int
    """The call's number among those of its kind, from 1."""
    acted: bool
    """Whether AWS has acted, and only its answer is lost."""


@dataclass(frozen=True)
class Life:
    """One process: what goes wrong for it, and what ends it. Without a death it lives on."""

    rules: tuple[Rule, ...] = ()
    death: Death | None = None


@dataclass(frozen=True)
class Plan:
    """One storm."""

    seed: str
    jobs: tuple[Wanted, ...]
    workers: tuple[tuple[Life, ...], ...]
    """The lives of each worker, one after the other."""
    webhook: tuple[Life, ...] = (Life(),)
    hooks: int = 1
    """The number of hooks that tell of each job."""
    disturbances: tuple[tuple[str, str, int], ...] = ()
    """Kind, action and how many go through before (`local.github.webhooks.Disturbance`)."""
    redelivered: float = 0.0
    """The fraction of good deliveries that somebody sends again."""
    github: tuple[dict[str, Any], ...] = ()
    """Faults of GitHub (`local.github.faults.Fault`)."""
    droughts: tuple[ecs.Drought, ...] = ()
    failing_starts: tuple[str, ...] = ()
    events_lost: float = 0.0
    events_doubled: float = 0.0
    """The fractions of ECS's events that are lost, and that come twice."""
    maximum: int = 50
    """Of the pool."""
    new_revision: bool = False
    """Whether the pool has another task definition from the middle on."""
    held_back: bool = False
    """Whether tasks stay in PROVISIONING until all jobs are queued, or cancelled already."""
    registered: int = 0
    """The runners that must have been registered before held-back tasks may run, beside that."""
    held_for: float = 20.0
    """Seconds for which they are waited for, at most; of a job's moment to be cancelled, half."""
    patience: float = 240.0
    """Seconds in which all jobs have to be over, on a busy machine; by design they take a tenth."""

    @property
    def deaths(self) -> int:
        """Count the processes that are to be killed."""
        lives = [*self.webhook, *(life for lives in self.workers for life in lives)]
        return sum(life.death is not None for life in lives)


def make_plan(seed: str, **changes: Any) -> Plan:
    """Draw a storm; `changes` replace what is drawn."""
    chance = random.Random(f"real {seed}")  # noqa: S311  chance, not secrecy
    size = chance.randint(8, 15)
    deaths = chance.choice((1, 2, 2, 3))
    drawn = Plan(
        seed,
        tuple(_draw_job(chance, number) for number in range(size)),
        workers=tuple(_draw_lives(chance, _draw_death, deaths) for _ in range(2)),
        webhook=_draw_lives(chance, _draw_webhook_s_death, chance.choice((0, 1, 2))),
        hooks=chance.choice((1, 1, 2)),
        disturbances=tuple(_draw_disturbance(chance) for _ in range(chance.randint(0, 5))),
        redelivered=chance.choice((0.0, 0.2)),
        github=tuple(_draw_github_s_fault(chance) for _ in range(chance.randint(0, 4))),
        droughts=tuple(_draw_drought(chance) for _ in range(chance.choice((0, 1, 2)))),
        failing_starts=tuple(
            chance.choice((ecs.CANNOT_PULL, ecs.NO_ADDRESS)) for _ in range(chance.choice((0, 1)))
        ),
        events_lost=chance.choice((0.0, 0.2)),
        events_doubled=chance.choice((0.0, 0.2)),
        maximum=chance.choice((4, 50, 50)),
        new_revision=chance.random() < 0.3,
        held_back=chance.random() < 0.2,
    )
    return replace(drawn, **changes)


def _draw_job(chance: random.Random, number: int) -> Wanted:
    turn = chance.choice([*[Turn.RUN] * 5, *Turn])
    return Wanted(f"job {number}", turn, chance.randint(0, number))


def _draw_lives(chance: random.Random, draw: Any, deaths: int) -> tuple[Life, ...]:
    dying = [Life(_draw_rules(chance), draw(chance)) for _ in range(deaths)]
    return (*dying, Life(_draw_rules(chance)))


def _draw_death(chance: random.Random) -> Death:
    call, most = chance.choice(MOMENTS)
    return Death(call, chance.randint(1, most), chance.random() < 0.5)


def _draw_webhook_s_death(chance: random.Random) -> Death:
    return Death("SendMessage", chance.randint(1, 8), chance.random() < 0.5)


def _draw_rules(chance: random.Random) -> tuple[Rule, ...]:
    return tuple(_draw_rule(chance) for _ in range(chance.choice((0, 1, 2, 4))))


def _draw_rule(chance: random.Random) -> Rule:
    target = chance.choice((*READS, *WRITES, *PLACES, "RunTask", "PutParameter"))
    skip, times = chance.randint(0, 6), chance.randint(1, 2)
    kind = chance.choice(("status", "status", "close", "reset", "delay"))
    if kind == "status":
        error = chance.choice(REFUSALS)
        return Rule("status", target=target, skip=skip, times=times, error=error)
    if kind == "delay":
        return Rule("delay", target=target, skip=skip, times=times, seconds=0.5)
    acted = chance.random() < 0.6  # the connection ends after AWS has acted
    return Rule(kind, target=target, skip=skip, times=times, forward=acted)


def _draw_disturbance(chance: random.Random) -> tuple[str, str, int]:
    action = chance.choice(("queued", "queued", "in_progress", "completed", ""))
    return chance.choice(("lose", "hold", "twice")), action, chance.randint(0, 4)


def _draw_github_s_fault(chance: random.Random) -> dict[str, Any]:
    call = chance.choice(("generate-jitconfig", "generate-jitconfig", "get-job", "delete-runner"))
    if chance.random() < 0.5:
        return {"call": call, "status": chance.choice((500, 502, 503))}
    return {"call": call, "drop": True, "after": chance.random() < 0.6}


def _draw_drought(chance: random.Random) -> ecs.Drought:
    where = chance.choice((None, "FARGATE_SPOT", "FARGATE"))
    return ecs.Drought(where, times=chance.randint(1, 4), skip=chance.randint(0, 4))
