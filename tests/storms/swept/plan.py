"""Draw a storm that is swept: all intakes mixed, and nobody who mends anything by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from tests.storms.plan import Plan, Turn, make_machine_plan, make_plan

MOST_JOBS = 5
MOST_DUPLICATES = 0.02
"""A job that waits for long is put off often, and each time there would be more of its messages."""
LONGEST_PAUSE = 300.0
"""Seconds that a job waits for an approval, at most."""
BOUND = 4 * 3600.0
"""Seconds after the storm within which all is gone: an hour of life, then what comes of its end."""


@dataclass(frozen=True)
class Start:
    """A `runner-launcher start`."""

    at: float
    count: int
    is_machine: bool
    label: str
    """"small", as jobs of a pool ask for, or "cli", which no job asks for."""
    wait: str
    just_in_time: bool
    steps: int | None
    """Awaits after which it is killed."""
    again: bool
    """It is started once more after that, with the same key."""
    stops: bool
    """`runner-launcher stop` follows."""


@dataclass(frozen=True)
class SweptPlan(Plan):
    """A storm, and what there is beside the webhook."""

    sweepers: int = 1
    in_table: bool = True
    """Sweeps remember in the table; else in their process."""
    starts: tuple[Start, ...] = ()
    orders: tuple[float, ...] = ()
    """When somebody asks the API for a runner."""
    warm: int = 0
    """Runners that are kept warm until all is calm."""
    hangs: float = 0.0
    clings: float = 0.0
    lost_events: float = 0.0
    """Fractions of agents that never begin, or never end; of ECS's events that get lost."""


def make_swept_plan(seed: str, **changes: Any) -> SweptPlan:
    """Draw a storm that is swept; `changes` replace what is drawn."""
    chance = random.Random(f"swept {seed}")  # noqa: S311  chance, not secrecy
    base = chance.choice((make_plan, make_machine_plan))(seed)
    jobs = [
        replace(
            job,
            at=min(job.at, 600.0),
            turn=Turn.RUN if job.turn is Turn.STRANGER else job.turn,
            after=min(job.after, LONGEST_PAUSE),
        )
        for job in base.jobs[:MOST_JOBS]
    ]
    drawn = SweptPlan(
        **vars(base)
        | {
            "jobs": tuple(jobs),
            "workers": chance.choice((1, 2)),
            "duplicates": min(base.duplicates, MOST_DUPLICATES),
        },
        sweepers=chance.choice((1, 1, 2)),
        in_table=chance.random() < 0.7,
        starts=tuple(_draw_start(chance) for _ in range(chance.choice((0, 1, 2, 3)))),
        orders=tuple(chance.uniform(0, 600) for _ in range(chance.choice((0, 1, 3)))),
        warm=chance.choice((0, 0, 1, 2)),
        hangs=chance.choice((0.0, 0.1, 0.4)),
        clings=chance.choice((0.0, 0.0, 0.1)),
        lost_events=chance.choice((0.0, 0.1, 0.4)),
    )
    if drawn.sweepers > 1:
        drawn = replace(drawn, in_table=True)
    return replace(drawn, longest=drawn.calm + BOUND, **changes)


def _draw_start(chance: random.Random) -> Start:
    return Start(
        at=chance.uniform(0, 600),
        count=chance.choice((1, 1, 3)),
        is_machine=chance.random() < 0.4,
        label=chance.choice(("small", "cli")),
        wait=chance.choice(("online", "running", "none")),
        just_in_time=chance.random() < 0.6,
        steps=chance.choice((None, 20, 60, 150)),
        again=chance.random() < 0.4,
        stops=chance.random() < 0.3,
    )
