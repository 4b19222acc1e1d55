"""Run one cell of the table as a whole life: apply its fault, run the agent, return the end."""

from __future__ import annotations

import json
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import aws
from local.agent import EndedError
from local.faults import Rule
from tests.failures import docker_engine
from tests.failures.stage import HURRIED, PAT, FailingStage, open_stage
from tests.lives.machine import ECS_VARIABLES

if TYPE_CHECKING:
    from docs.failures import Row
    from tests.lives.stage import Life

DOCKER_JOB = Path(__file__).with_name("docker_job.py")
BUDGET = "12"
"""Seconds of every stop here."""
SETTINGS = {
    "SIDECAR_STOP_TIMEOUT": BUDGET,
    "SIDECAR_TOKEN_TIMEOUT": "6",
    "SIDECAR_LIFETIME_LIMIT": "60",
}
LASTING = ("never", "403", "404")
"""Faults that last: a token is waited for until the time-out."""
NO_PARAMETER: dict[str, str | None] = {"SIDECAR_TOKEN_PARAMETER": None}
PLAYS: dict[str, dict[str, Any]] = {
    # A registration token in SSM, one job.
    "job": {},
    # The same on a Spot machine, which has no ECS.
    "machine": {"machine": True},
    # The first, with a role of its own for the job.
    "job-role": {"role": f"arn:aws:iam::{aws.ACCOUNT}:role/job"},
    # The first, with a rule that gives the job its role.
    "roles": {"rules": f'[[job]]\nrole = "arn:aws:iam::{aws.ACCOUNT}:role/job"'},
    # The same, by GitHub's own token.
    "oidc": {"rules": f'[[job]]\nrole = "arn:aws:iam::{aws.ACCOUNT}:role/job"\nproof = "oidc"'},
    # The first without a job: stopped as soon as it waits for one.
    "idle": {"stop": True},
    # The same, and GitHub's runner services always fail: the program removes the runner.
    "program": {"stop": True, "no_services": True},
    # A personal access token that mints, one job; without a job; just in time.
    "pat": {"source": "pat"},
    "pat-idle": {"source": "pat", "stop": True},
    "jit": {"source": "jit"},
    # An App, one job.
    "app": {"source": "app"},
    # The first configure dies between GitHub's answer and its own `.runner`.
    "half": {"misbehave": {"configure": {"kind": "half", "count": 1}}},
    # The first, whose job makes a volume and a container at a docker engine, in strict mode.
    "docker": {"docker": True},
    # Every configure does, so that nobody knows the number of the registered runner.
    "lost": {"source": "pat", "misbehave": {"configure": "half"}},
}


ROLES = {"rules": "SIDECAR_ROLES", "role": "SIDECAR_JOB_ROLE_ARN"}
"""What gives the job a role of its own, by its key in a play."""
Match = dict[str, Any]


def _lose_answer(kind: Any) -> Any:
    return lambda match, _aws: Rule(kind, **match, times=1, forward=True)


def _refuse_with(status: int, message: str, error: str, times: int | None) -> Any:
    def made(match: Match, of_aws: bool) -> Rule:
        # What cannot be found for its deletion was deleted by somebody else.
        gone = status == 404 and (match.get("method"), match.get("target")) in DELETIONS
        answer = (
            {"error": error}
            if of_aws
            else {"status": status, "body": json.dumps({"message": message})}
        )
        return Rule("status", **match, **answer, times=times, forward=gone)

    return made


DELETIONS = (("DELETE", None), (None, "DeleteParameter"))
RULES = {
    "time-out": _lose_answer("hang"),
    "reset": _lose_answer("reset"),
    "malformed": _lose_answer("not-json"),
    "never": lambda match, _aws: Rule("hang", **match),
    "5xx": _refuse_with(503, "Service unavailable", "InternalServerError", 2),
    "throttle": _refuse_with(429, "API rate limit exceeded", "ThrottlingException", 2),
    "403": _refuse_with(403, "Must have admin rights", "AccessDeniedException", None),
    "404": _refuse_with(404, "Not Found", "ParameterNotFound", None),
}
MISBEHAVIOURS = {"crashes": "exit:134", "fails": "exit:3", "never": "hang"}
ERRORS = {"full": "ENOSPC", "read-only": "EROFS", "broken": "EIO"}


def apply_fault(
    stage: FailingStage, row: Row, fault: str, play: dict[str, Any]
) -> dict[str, str | None]:
    """Apply one fault of the table; returns the variables that the agent needs for it."""
    stage.misbehave(time_scale=0.01, **play.get("misbehave", {}))
    if play.get("no_services"):
        match = {"method": "DELETE", "path": "/agents/\\d+\\?api-version"}
        stage.hub.add(_refuse_with(400, "no", "no", None)(match, False))
    if row.where == "docker":
        return give_docker(stage)
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


def spare_configure(row: Row, fault: str) -> dict[str, str | None]:
    """Return a long time for configure where it does not hang.

    There it must never be cut: what a rule skips would then be another call than it counts on.
    """
    if fault in ("never", "time-out") and row.call.startswith("configure"):
        return {"CONFIGURE_TIMEOUT": "5"}
    return {"CONFIGURE_TIMEOUT": "60"}


async def prepare(stage: FailingStage, play: dict[str, Any]) -> dict[str, str | None]:
    """Prepare what the life needs; returns its settings."""
    env: dict[str, str | None] = dict(SETTINGS)
    given = {name: play[key] for key, name in ROLES.items() if key in play}
    env |= given | dict.fromkeys(["AWS_ENDPOINT_URL_STS"] if given else [], stage.ssm.url)
    if play.get("machine"):
        env |= dict.fromkeys((*ECS_VARIABLES, "AWS_EC2_METADATA_DISABLED"))
        env |= {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": stage.metadata.url,
            "SIDECAR_PLATFORM": "ec2",
        }
    match play.get("source", "token"):
        case "token":
            await stage.put()
        case "pat":
            env |= NO_PARAMETER | {"SIDECAR_GITHUB_PAT": PAT}
        case "jit":
            env |= NO_PARAMETER | {"SIDECAR_GITHUB_PAT": PAT, "SIDECAR_JUST_IN_TIME": "true"}
        case "app":
            env |= NO_PARAMETER | stage.install_app()
    if not play.get("stop"):
        # Its text, not its path: the job's user may not enter the folder of this repository.
        use_docker = f"python3 - <<'END'\n{DOCKER_JOB.read_text()}END\n"
        url = stage.admit_job() if "oidc" in play.get("rules", "") else ""
        stage.job(use_docker if play.get("docker") else "true", id_token_url=url)
    return env


def give_docker(stage: FailingStage) -> dict[str, str | None]:
    """Return the settings by which the agent uses the stage's docker engine."""
    shared = stage.folder / "shared"
    shared.mkdir()
    return {
        "DOCKER_HOST": f"unix://{stage.folder}/engine.sock",
        "SIDECAR_DOCKER_PROXY": "on",
        "SIDECAR_DOCKER_STRICT": "true",
        "SIDECAR_SHARED_DIR": str(shared),
    }


async def run_life(stage: FailingStage, play: dict[str, Any], env: dict[str, str | None]) -> Life:
    """Run the agent to its end."""
    async with stage.life(HURRIED, env=env) as life:
        if play.get("stop"):
            await stop_when_idle(life)
        await life.wait_for_end()
        return life


async def stop_when_idle(life: Life) -> None:
    """Stop the agent as soon as it waits for a job, if it ever does."""
    try:
        await life.wait_for_phase("idle")
    except EndedError:
        return
    life.signal(signal.SIGTERM)


@dataclass
class Ended:
    """How a cell's life ended, and what was left of it."""

    code: int
    events: set[str]
    left: tuple[str, ...]
    """What the log says is left."""
    runners: list[str]
    parameter: str | None
    processes: dict[int, str]
    transcript: str


async def run_cell(moto: str, row: Row, fault: str) -> Ended:
    """Run one cell against the SSM at `moto`."""
    async with open_stage(moto) as stage, AsyncExitStack() as exit_stack:
        play = PLAYS[row.play]
        if row.where == "docker":
            serving = docker_engine.serving(stage.folder / "engine.sock", row.match, fault)
            engine = await exit_stack.enter_async_context(serving)
        env = await prepare(stage, play) | apply_fault(stage, row, fault, play)
        env |= spare_configure(row, fault)
        if fault == "never":
            env["METADATA_PATIENCE"] = "5"
        if fault not in LASTING:  # nobody waits for its end; a busy machine must not come to it
            env["SIDECAR_TOKEN_TIMEOUT"] = "30"
        if (row.call, fault) == ("run", "never"):
            env["SIDECAR_LIFETIME_LIMIT"] = "3"  # nothing else would end it
        life = await run_life(stage, play, env)
        if row.where == "docker":
            assert engine.applied, (
                f"{row.call} / {fault}: the agent never asked\n{life.transcript()}"
            )
        return Ended(
            life.process.returncode or 0,
            {event["event"] for event in life.events},
            tuple(sorted(event["undo"] for event in life.find_events("cleanup.failed"))),
            [runner.name for runner in stage.world.runners],
            await stage.read_parameter(),
            stage.find_processes(),
            life.transcript(),
        )
