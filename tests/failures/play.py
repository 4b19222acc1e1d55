"""One cell of the table as a whole life: the fault is put up, the life played, the end held."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from local.faults import Rule
from tests.failures.front import HURRIED, PAT, Front, fronted, template

if TYPE_CHECKING:
    from tests.lives.stage import Life

BUDGET = "8"
"""Seconds of every stop here."""
SETTINGS = {
    "SIDECAR_STOP_TIMEOUT": BUDGET,
    "SIDECAR_TOKEN_TIMEOUT": "6",
}
NO_PARAMETER: dict[str, str | None] = {"SIDECAR_TOKEN_PARAMETER": None}
PLAYS: dict[str, dict[str, Any]] = {
    # A registration token in SSM, one job.
    "job": {},
    # The same without a job: stopped as soon as it waits for one.
    "idle": {"stop": True},
    # A personal access token that mints, one job; without a job; just in time.
    "pat": {"source": "pat"},
    "pat-idle": {"source": "pat", "stop": True},
    "jit": {"source": "jit"},
    # An App, one job.
    "app": {"source": "app"},
    # The first configure dies between GitHub's answer and its own `.runner`.
    "half": {"configure": {"kind": "half", "count": 1}},
    # Every configure does, so that nobody knows the number of what is registered.
    "lost": {"source": "pat", "configure": "half"},
}


def rules(fault: str, where: str, match: dict[str, Any]) -> list[Rule]:
    """Make the proxy's rules for one fault of the table."""
    aws = where in ("ssm", "sts")
    skip = match.get("skip", 0)
    match = {key: value for key, value in match.items() if key != "skip"}
    first = {**match, "times": 1, "forward": True, "skip": skip}
    said: dict[str, Any]
    match fault:
        case "time-out":
            return [Rule("hang", **first)]
        case "reset":
            return [Rule("reset", **first)]
        case "malformed":
            return [Rule("not-json", **first)]
        case "never":
            return [Rule("hang", **match, skip=skip)]
        case "5xx":
            said = {"status": 503, "body": '{"message": "Service unavailable"}', "times": 2}
        case "throttle":
            said = {"status": 429, "body": '{"message": "API rate limit exceeded"}', "times": 2}
            if aws:
                said = {"error": "ThrottlingException", "times": 2}
        case "403":
            said = {"status": 403, "body": '{"message": "Must have admin rights"}'}
            if aws:
                said = {"error": "AccessDeniedException"}
        case "404":
            # What is to be deleted is gone: somebody else was quicker.
            said = {"status": 404, "body": '{"message": "Not Found"}', "forward": True}
            if aws:
                said = {"error": "ParameterNotFound", "forward": True}
    return [Rule("status", **match, skip=skip, **said)]


async def begun(stage: Front, play: dict[str, Any]) -> dict[str, str | None]:
    """Put up what the life needs; give its settings."""
    env: dict[str, str | None] = dict(SETTINGS)
    stage.misbehave(time_scale=0.01, **{k: v for k, v in play.items() if k in MISBEHAVIOUR})
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


MISBEHAVIOUR = ("configure", "run", "remove", "ignore_signals")


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


async def outcome(aws: str, row: Any, fault: str) -> tuple[Life, Front]:
    """Play one cell."""
    async with fronted(aws, template()) as stage:
        play = PLAYS[row.play]
        env = await begun(stage, play)
        stage.proxy(row.where).add(*rules(fault, row.where, dict(row.match)))
        life = await lived(stage, play, env)
        life.runners = [runner.name for runner in stage.world.runners]
        life.parameter = await stage.held()
        life.survivors = stage.survivors()
        life.hit = sum(a.matched for a in stage.proxy(row.where).applied)
        return life, stage
