"""What happens in a storm, drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tests.storms.machines import BAD_ENDS, Fate

HOUR = 3600.0
SMALL, LARGE = ("self-hosted", "small"), ("self-hosted", "large")
APP, LIB = "octo/app", "octo/lib"
STRANGER = "stranger/app"
KINDS = ("c7i.large", "m7i.large")
"""The types of machines."""
REFUSALS = (
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "RequestLimitExceeded",
)
"""EC2's words for no room, for two quotas, and for too many calls."""


class Turn(StrEnum):
    """What becomes of a job, beside that it runs."""

    RUN = "run"
    CANCEL = "cancel"
    """Somebody cancels it while it is queued, starting or running."""
    RERUN = "rerun"
    """It is run again after its end: a new job of the same run."""
    APPROVE = "approve"
    """It waits for an approval first, for hours."""
    RECONSIDER = "reconsider"
    """It is queued, then waits for an approval, then is queued again."""
    STRANGER = "stranger"
    """It is a fork's, which the pool does not admit."""


@dataclass(frozen=True)
class Wanted:
    """A job that comes."""

    at: float
    labels: tuple[str, ...]
    repository: str
    seconds: float
    turn: Turn
    after: float
    """Seconds until its turn."""


@dataclass(frozen=True)
class MachineDrought:
    """A time in which EC2 refuses some machines."""

    begin: float
    end: float
    capacity: str | None
    kind: str | None
    """Of which capacity and type; None: any."""
    code: str


@dataclass(frozen=True)
class Machines:
    """The differences where jobs run on machines."""

    pools: tuple[str, ...] = ()
    """The pools whose jobs do."""
    bad_ends: float = 0.0
    """The fraction of machines that come to a bad end, until all is calm."""
    fates: tuple[Fate, ...] = BAD_ENDS
    lost_events: float = 0.0
    """The fraction of EC2's events that nobody gets to see."""
    droughts: tuple[MachineDrought, ...] = ()


@dataclass(frozen=True)
class Plan:
    """One storm."""

    seed: str
    jobs: tuple[Wanted, ...]
    hooks: int
    lost: float
    doubled: float
    late: float
    faults: float
    mishaps: float
    duplicates: float
    deaths: int | None
    """How many awaits a process survives on average."""
    workers: int
    maximum: int
    droughts: tuple[tuple[float, float, str | None], ...]
    outages: dict[str, tuple[float, float]] = field(default_factory=dict)
    broken: tuple[tuple[float, float], ...] = ()
    reloads: tuple[float, ...] = ()
    thieves: tuple[float, ...] = ()
    """When a runner that is not ours waits for one job."""
    resend: float = 600.0
    calm: float = HOUR
    """When everything works again."""
    longest: float = 26 * HOUR
    """Virtual seconds after which it ends in any case."""
    remaining: int = 4900
    """Of GitHub's limit."""
    machines: Machines = Machines()


def make_plan(seed: str, **changes: Any) -> Plan:
    """Draw a storm; `changes` replace what is drawn."""
    chance = random.Random(f"plan {seed}")  # noqa: S311  chance, not secrecy
    size = chance.choice((1, 2, 4, 8, 12, 16, 24, 50))
    length = chance.choice((5.0, 120.0, 900.0))
    jobs = tuple(sorted((_draw_job(chance, length) for _ in range(size)), key=lambda it: it.at))
    storm = length + 900
    drawn = Plan(
        seed,
        jobs,
        hooks=chance.choice((1, 1, 2)),
        lost=chance.choice((0.0, 0.05, 0.2)),
        doubled=chance.choice((0.0, 0.1, 0.3)),
        late=chance.choice((0.0, 0.1, 0.3)),
        faults=chance.choice((0.0, 0.01, 0.05, 0.1)),
        mishaps=chance.choice((0.0, 0.05, 0.15)),
        duplicates=chance.choice((0.0, 0.05, 0.2)),
        deaths=chance.choice((None, 30, 100, 400)),
        workers=chance.choice((1, 2, 3)),
        maximum=chance.choice((3, 20, 60)),
        droughts=tuple(_draw_drought(chance, storm) for _ in range(chance.choice((0, 0, 1, 3)))),
        outages=_draw_outages(chance, storm),
        broken=((30.0, 60.0),) if chance.random() < 0.1 else (),
        reloads=tuple(chance.uniform(0, storm) for _ in range(chance.choice((0, 1, 2)))),
        thieves=tuple(chance.uniform(0, storm) for _ in range(chance.choice((0, 0, 1, 3)))),
        resend=chance.choice((120.0, 600.0)),
        calm=storm,
        remaining=chance.choice((4900, 4900, 300)),
    )
    return replace(drawn, **changes)


def make_machine_plan(seed: str, **changes: Any) -> Plan:
    """Draw a storm in which the jobs of one pool or of both run on machines."""
    plan = make_plan(seed, **changes)
    chance = random.Random(f"machines {seed}")  # noqa: S311  chance, not secrecy
    machines = Machines(
        pools=chance.choice((("small",), ("large",), ("small", "large"))),
        bad_ends=chance.choice((0.05, 0.2, 0.4)),
        lost_events=chance.choice((0.0, 0.2, 0.6)),
        droughts=tuple(
            _draw_machine_drought(chance, plan.calm) for _ in range(chance.choice((0, 1, 3)))
        ),
    )
    outages = {"ec2" if name == "ecs" else name: when for name, when in plan.outages.items()}
    return replace(plan, machines=machines, outages=outages)


def make_equal_plan(seed: str) -> Plan:
    """Draw a storm of equal, short jobs: what GitHub tells comes late and twice, nothing fails."""
    plan = make_plan(
        seed,
        lost=0.0,
        late=0.3,
        faults=0.0,
        mishaps=0.0,
        deaths=None,
        droughts=(),
        outages={},
        broken=(),
        reloads=(),
        thieves=(),
        maximum=60,
        remaining=4900,
    )
    equal = {"turn": Turn.RUN, "labels": SMALL, "repository": APP, "seconds": 2.0}
    return replace(plan, jobs=tuple(replace(job, **equal) for job in plan.jobs))


def _draw_job(chance: random.Random, length: float) -> Wanted:
    turns = [Turn.RUN] * 10 + [Turn.CANCEL] * 3 + [Turn.RERUN, Turn.APPROVE, Turn.RECONSIDER]
    turn = chance.choice([*turns, Turn.STRANGER])
    after = chance.uniform(0, 120)
    if turn in (Turn.APPROVE, Turn.RECONSIDER):
        after = chance.choice((chance.uniform(0, 300), chance.uniform(HOUR, 5 * HOUR)))
    return Wanted(
        at=chance.uniform(0, length),
        labels=chance.choice((SMALL, SMALL, SMALL, LARGE)),
        repository=APP if turn is Turn.STRANGER else chance.choice((APP, APP, LIB)),
        seconds=chance.choice((2.0, 30.0, 200.0)),
        turn=turn,
        after=after,
    )


def _draw_drought(chance: random.Random, storm: float) -> tuple[float, float, str | None]:
    begin = chance.uniform(0, storm)
    where = chance.choice((None, "FARGATE_SPOT", "FARGATE"))
    return begin, begin + chance.choice((20.0, 200.0, 1800.0)), where


def _draw_machine_drought(chance: random.Random, storm: float) -> MachineDrought:
    begin = chance.uniform(0, storm)
    return MachineDrought(
        begin,
        begin + chance.choice((20.0, 200.0, 1800.0)),
        chance.choice((None, "spot", "on-demand")),
        chance.choice((None, *KINDS)),
        chance.choice(REFUSALS),
    )


def _draw_outages(chance: random.Random, storm: float) -> dict[str, tuple[float, float]]:
    if chance.random() < 0.6:
        return {}
    service = chance.choice(("dynamodb", "sqs", "ssm", "ecs", "github"))
    begin = chance.uniform(0, storm)
    return {service: (begin, begin + chance.choice((10.0, 90.0, 400.0)))}
