"""Decide what happens to one life. Its seed alone decides, before the life begins."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass, field
from typing import Any

SOURCES = ("token", "json", "arguments", "jit", "pat", "pat-jit", "app", "app-jit", "token+pat")
STOPS = (signal.SIGTERM, signal.SIGINT)
MOMENTS = (
    "life.started", "token.read", "token.minted", "configure.printed", "runner.registered",
    "runner.started", "job.announced", "job.started", "job.completed", "runner.ended",
    "stop.requested", "token.deleted", "retry.scheduled", "runner.deregistered",
)  # fmt: skip
"""Events after which a signal may be sent; without the event there is no signal."""
KINDS = ("delay", "hang", "reset", "close", "status", "not-json", "not-http", "truncate")
CALLS = {
    "ssm": ({"target": "GetParameter"}, {"target": "DeleteParameter"}, {}),
    "github": (
        {"path": "/actions/runners"},
        {"path": "registration-token$"},
        {"path": "generate-jitconfig$"},
        {"path": "runner-registration$"},
        {"path": "access_tokens$"},
        {"method": "DELETE"},
        {"path": r"/agents"},
        {"path": "/sessions"},
        {"path": "/messages"},
        {"path": "/oauth"},
        {},
    ),
    "ecs": ({"path": "credentials"}, {"path": "^/v4"}, {"path": "task-protection"}, {}),
}
JOBS = ("true", "exit 1", "sleep 0.5", "sleep 600", "echo $$; setsid sleep 600 &")
MISBEHAVIOURS: tuple[dict[str, Any], ...] = (
    {"configure": "half"},
    {"configure": {"kind": "half", "count": 1}},
    {"configure": {"kind": "fail-network", "count": 2}},
    {"configure": "hang"},
    {"configure": "name-taken"},
    {"run": "crash-before-listening"},
    {"run": "crash-after-listening"},
    {"run": "crash-in-job"},
    {"run": "exit:7"},
    {"run": "hang"},
    {"remove": {"kind": "fail", "count": 2}},
    {"remove": "hang"},
    {"ignore_signals": True},
    {"spawn_daemon": True},
)


@dataclass(frozen=True, slots=True)
class PlannedSignal:
    """A signal, and when it is sent: `seconds` after the event `after`, or after the start."""

    number: int
    after: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one life. Times are seconds."""

    seed: str
    source: str
    name: str | None
    jobs: tuple[str, ...]
    budget: float
    idle_limit: float
    lifetime_limit: float
    faults: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Service and rule (local.faults)."""
    misbehaviour: dict[str, Any] = field(default_factory=dict)
    signals: tuple[PlannedSignal, ...] = ()
    resumed: bool = True
    """Whether a killed one is started again."""

    @property
    def gentle(self) -> bool:
        """Whether nothing prevents a clean end: then nothing may be left."""
        return not (self.faults or self.misbehaviour or self.kills)

    @property
    def kills(self) -> bool:
        """Whether it may be killed."""
        return any(planned.number == signal.SIGKILL for planned in self.signals)


def plan(seed: str) -> Plan:
    """Return the plan of the life with this seed."""
    chance = random.Random(seed)  # noqa: S311  to be repeated, not to be secret
    return Plan(
        seed=seed,
        source=chance.choice(SOURCES),
        name=chance.choice((None, None, "given")),
        jobs=tuple(chance.choices(JOBS, k=chance.choice((0, 1, 1, 1)))),
        budget=chance.choice((3.0, 5.0, 8.0)),
        idle_limit=chance.choice((1.0, 2.0)),
        lifetime_limit=chance.choice((3.0, 5.0)),
        faults=tuple(_make_fault(chance) for _ in range(chance.choice((0, 0, 1, 1, 2, 3)))),
        misbehaviour=chance.choice(MISBEHAVIOURS) if chance.random() < 0.25 else {},
        signals=_make_signals(chance),
        resumed=chance.random() < 0.85,
    )


def _make_fault(chance: random.Random) -> tuple[str, dict[str, Any]]:
    where = chance.choice(("ssm", "github", "github", "ecs"))
    rule = {
        "kind": chance.choice(KINDS),
        **chance.choice(CALLS[where]),
        "times": chance.choice((1, 1, 2, 5, None)),
        "skip": chance.choice((0, 0, 0, 1, 3)),
    }
    match rule["kind"]:
        case "delay":
            rule["seconds"] = chance.uniform(0.1, 2.0)
        case "status":
            rule |= _make_status(chance, where)
            # GitHub answers so only if the runner is gone.
            rule["forward"] = (rule.get("method"), rule.get("status")) == ("DELETE", 404)
            if rule.get("status") == 404 and rule.get("path") in (None, "/actions/runners"):
                rule["method"] = (
                    "GET"  # it would also say of a runner that is there that it is gone
                )
        case "reset" | "close" | "hang" | "not-json":
            rule["forward"] = chance.random() < 0.5
    return where, rule


def _make_status(chance: random.Random, where: str) -> dict[str, Any]:
    if where == "ssm":
        errors = ("ThrottlingException", "AccessDeniedException", "InternalServerError")
        return {"error": chance.choice(errors)}
    status = chance.choice((500, 502, 503, 429, 403, 404, 401))
    headers = {"retry-after": "1"} if status == 429 else {}
    return {"status": status, "headers": headers, "body": '{"message": "Ordered fault"}'}


def _make_signals(chance: random.Random) -> tuple[PlannedSignal, ...]:
    kind = chance.choice(("none", "stop", "stop", "stops", "kill", "kill"))
    if kind == "none":
        return ()
    if kind == "kill":
        return (_make_signal(chance, signal.SIGKILL),)
    count = 1 if kind == "stop" else chance.choice((2, 3))
    return tuple(_make_signal(chance, chance.choice(STOPS)) for _ in range(count))


def _make_signal(chance: random.Random, number: int) -> PlannedSignal:
    after = None if chance.random() < 0.4 else chance.choice(MOMENTS)
    return PlannedSignal(number, after, chance.uniform(0.0, 2.5 if after is None else 0.4))
