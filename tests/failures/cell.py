"""One cell of the table as a whole life: the fault is put up, the life played, the end held."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local import aws
from local.faults import Rule
from tests.failures.front import HURRIED, PAT, Front, fronted, template

if TYPE_CHECKING:
    from docs.failures import Row
    from tests.lives.stage import Life

BUDGET = "12"
"""Seconds of every stop here."""
SETTINGS = {
    "SIDECAR_STOP_TIMEOUT": BUDGET,
    "SIDECAR_TOKEN_TIMEOUT": "6",
    "SIDECAR_LIFETIME_LIMIT": "60",
}
NO_PARAMETER: dict[str, str | None] = {"SIDECAR_TOKEN_PARAMETER": None}
PLAYS: dict[str, dict[str, Any]] = {
    # A registration token in SSM, one job.
    "job": {},
    # The same, with a role of its own for the job.
    "job-role": {"role": f"arn:aws:iam::{aws.ACCOUNT}:role/job"},
    # The first without a job: stopped as soon as it waits for one.
    "idle": {"stop": True},
    # A personal access token that mints, one job; without a job; just in time.
    "pat": {"source": "pat"},
    "pat-idle": {"source": "pat", "stop": True},
    "jit": {"source": "jit"},
    # An App, one job.
    "app": {"source": "app"},
    # The first configure dies between GitHub's answer and its own `.runner`.
    "half": {"misbehave": {"configure": {"kind": "half", "count": 1}}},
    # Every configure does, so that nobody knows the number of what is registered.
    "lost": {"source": "pat", "misbehave": {"configure": "half"}},
}


Match = dict[str, Any]


def _lost(kind: Any) -> Any:
    return lambda match, _aws: Rule(kind, **match, times=1, forward=True)


def _refused(status: int, message: str, error: str, times: int | None) -> Any:
    def made(match: Match, of_aws: bool) -> Rule:
        # What is to be deleted and not found has gone by another's hand.
        gone = status == 404 and (match.get("method"), match.get("target")) in DELETIONS
        said = (
            {"error": error}
            if of_aws
            else {"status": status, "body": json.dumps({"message": message})}
        )
        return Rule("status", **match, **said, times=times, forward=gone)

    return made


DELETIONS = (("DELETE", None), (None, "DeleteParameter"))
RULES = {
    "time-out": _lost("hang"),
    "reset": _lost("reset"),
    "malformed": _lost("not-json"),
    "never": lambda match, _aws: Rule("hang", **match),
    "5xx": _refused(503, "Service unavailable", "InternalServerError", 2),
    "throttle": _refused(429, "API rate limit exceeded", "ThrottlingException", 2),
    "403": _refused(403, "Must have admin rights", "AccessDeniedException", None),
    "404": _refused(404, "Not Found", "ParameterNotFound", None),
}
MISBEHAVIOURS = {"crashes": "exit:134", "fails": "exit:3", "never": "hang"}
ERRORS = {"full": "ENOSPC", "read-only": "EROFS", "broken": "EIO"}


def spoiled(stage: Front, row: Row, fault: str, play: dict[str, Any]) -> dict[str, str | None]:
    """Put up one fault of the table; give what the agent must be told for it."""
    stage.misbehave(time_scale=0.01, **play.get("misbehave", {}))
    if row.where == "disk":
        return {"DISK_FAULT": f"{ERRORS[fault]}:{row.match['path']}"}
    if row.where == "spawn" and fault == "cannot":
        return {"SPAWN_FAULT": f"EAGAIN:{row.call}"}
    if row.where == "spawn":
        crash = {"run": "crash-before-listening"}.get(row.call)
        how = crash if crash and fault == "crashes" else MISBEHAVIOURS[fault]
        stage.misbehave(time_scale=0.01, **{row.call: how})
        return {}
    stage.proxy(row.where).add(RULES[fault](dict(row.match), row.where in ("ssm", "sts")))
    return {}


async def begun(stage: Front, play: dict[str, Any]) -> dict[str, str | None]:
    """Put up what the life needs; give its settings."""
    env: dict[str, str | None] = dict(SETTINGS)
    if role := play.get("role"):
        env |= {"SIDECAR_JOB_ROLE_ARN": role, "AWS_ENDPOINT_URL_STS": stage.ssm.url}
    match play.get("source", "token"):
        case "token":
            await stage.put()
        case "pat":
            env |= NO_PARAMETER | {"SIDECAR_GITHUB_PAT": PAT}
        case "jit":
            env |= NO_PARAMETER | {"SIDECAR_GITHUB_PAT": PAT, "SIDECAR_JUST_IN_TIME": "true"}
        case "app":
            env |= NO_PARAMETER | stage.app()
    if not play.get("stop"):
        stage.job("true")
    return env


async def lived(stage: Front, play: dict[str, Any], env: dict[str, str | None]) -> Life:
    """Live the life to its end."""
    async with stage.life(HURRIED, env=env) as life:
        if play.get("stop"):
            await stopped_when_idle(life)
        await life.ended()
        return life


async def stopped_when_idle(life: Life) -> None:
    """Stop it as soon as it waits for a job, if it ever does."""
    try:
        await life.phase("idle")
    except AssertionError:
        return
    life.signal(signal.SIGTERM)


@dataclass
class Ended:
    """How a cell's life ended."""

    code: int
    events: set[str]
    left: tuple[str, ...]
    """What the log says is left."""
    runners: list[str]
    held: str | None
    survivors: dict[int, str]
    transcript: str


async def outcome(moto: str, row: Row, fault: str) -> Ended:
    """Play one cell."""
    async with fronted(moto, template()) as stage:
        play = PLAYS[row.play]
        env = await begun(stage, play) | spoiled(stage, row, fault, play)
        if (row.call, fault) == ("run", "never"):
            env["SIDECAR_LIFETIME_LIMIT"] = "3"  # what would end it if nothing else does
        life = await lived(stage, play, env)
        return Ended(
            life.process.returncode or 0,
            {event["event"] for event in life.events},
            tuple(sorted(event["undo"] for event in life.all("cleanup.failed"))),
            [runner.name for runner in stage.world.runners],
            await stage.held(),
            stage.survivors(),
            life.transcript(),
        )
