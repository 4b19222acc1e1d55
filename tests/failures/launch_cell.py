"""Run one cell of the launcher's table: make one call fail, run one command, return the outcome."""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher import cli
from launcher.interruption import Interruption
from launcher.journal import MemoryJournal
from launcher.order_stages import open_stages
from local import aws, ssm
from local.faults import Rule
from local.github.apps import fresh_key
from local.stage import PAT
from tests.failures.launching import PREFIX, open_stage

if TYPE_CHECKING:
    from docs.failures import Row
    from tests.failures.launching import Stage

START = {"labels": "self-hosted,build", "wait": "online"}
BEGIN = {**START, "wait": "none", "key": "key"}
STOP = {"key": "key"}
SECRET = "/launches/pat"
PLAYS: dict[str, dict[str, Any]] = {
    # A runner that is registered just in time, with a personal access token.
    "start": {"command": "start", "own": START},
    # The agent registers it with a registration token.
    "start-token": {"command": "start", "own": START, "settings": {"just_in_time": "false"}},
    # With an App, or with a token that AWS keeps.
    "start-app": {"command": "start", "own": START, "credential": "app"},
    "start-ssm": {"command": "start", "own": START, "credential": "ssm"},
    "start-secretsmanager": {"command": "start", "own": START, "credential": "secretsmanager"},
    # A second start of the same key: its task is still starting, its token not yet read.
    "repeat": {"command": "start", "own": BEGIN, "begun": True},
    # The stop of a runner that has no job; its task is still starting.
    "stop": {"command": "stop", "own": STOP, "begun": True},
}
TIMEOUT, SHORT_TIMEOUT = "90", "4"
"""Seconds after which a start gives up; the second where nothing else would end it."""
NOT_FOUND = {
    "RunTask": "ClusterNotFoundException",
    "DescribeTasks": "ClusterNotFoundException",
    "ListTasks": "ClusterNotFoundException",
    "StopTask": "ClusterNotFoundException",
    "RunInstances": "InvalidLaunchTemplateName.NotFoundException",
    "CreateFleet": "InvalidLaunchTemplateName.NotFoundException",
    "DescribeLaunchTemplateVersions": "InvalidLaunchTemplateName.NotFoundException",
    "DescribeInstances": "InvalidInstanceID.NotFound",
    "TerminateInstances": "InvalidInstanceID.NotFound",
    "GetConsoleOutput": "InvalidInstanceID.NotFound",
    "GetSecretValue": "ResourceNotFoundException",
    "GetItem": "ResourceNotFoundException",
    "UpdateItem": "ResourceNotFoundException",
    "TransactWriteItems": "ResourceNotFoundException",
    "SendMessage": "QueueDoesNotExist",
    "ReceiveMessage": "QueueDoesNotExist",
    "DeleteMessage": "QueueDoesNotExist",
}
"""What AWS answers where something does not exist; of SSM it is ParameterNotFound."""


def make_rule(row: Row, fault: str) -> Rule:
    """Make the rule of the proxy that applies a fault to a call."""
    match, of_aws = dict(row.match), row.where != "github"
    missing = NOT_FOUND.get(match.get("target", ""), "ParameterNotFound")
    refusals = {
        "5xx": (503, "Service unavailable", "InternalServerError", 2),
        "throttle": (429, "API rate limit exceeded", "ThrottlingException", 2),
        "403": (403, "Must have admin rights", "AccessDeniedException", None),
        "404": (404, "Not Found", missing, None),
    }
    if fault in refusals:
        status, message, error, times = refusals[fault]
        answer: dict[str, Any] = (
            {"error": error}
            if of_aws
            else {"status": status, "body": json.dumps({"message": message})}
        )
        # What cannot be found for its deletion was deleted by somebody else.
        gone = fault == "404" and (match.get("method") == "DELETE" or row.call in DELETIONS)
        return Rule("status", **match, **answer, times=times, forward=gone)
    kind, forward, times = {
        "time-out": ("hang", False, 1),
        "reset": ("reset", False, 1),
        "lost": ("close", True, 1),
        "malformed": ("not-json", True, 1),
        "never": ("hang", False, None),
    }[fault]
    return Rule(kind, **match, forward=forward, times=times)  # type: ignore[arg-type]


DELETIONS = ("SSM DeleteParameter", "EC2 TerminateInstances")


make_app_key = functools.cache(fresh_key)


def create_secret(endpoint: str, name: str, value: str) -> None:
    """Keep a secret in the Secrets Manager at `endpoint`."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "secretsmanager.CreateSecret",
        "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/"
        f"{aws.REGION}/secretsmanager/aws4_request, SignedHeaders=host, Signature=0",
    }
    body = json.dumps({"Name": name, "SecretString": value, "ClientRequestToken": "0" * 32})
    request = urllib.request.Request(endpoint, body.encode(), headers)
    with urllib.request.urlopen(request, timeout=30):
        pass


@dataclass
class Ended:
    """How a cell ended, and what was left of it."""

    exit: int | str
    events: set[str]
    left: tuple[str, ...]
    """What the log says is left."""
    tasks: int
    """Tasks and machines that were not stopped."""
    started: int
    """Tasks and machines that were ever started."""
    parameters: int
    runners: int
    transcript: str


async def run_cell(moto: str, row: Row, fault: str) -> Ended:
    """Run one cell against the AWS at `moto`."""
    play = PLAYS[row.play]
    async with open_stage(moto) as stage:
        settings = play.get("settings", {}) | await prepare(stage, play.get("credential", ""))
        if play.get("begun"):
            stage.plane.may_run.clear()
            code = await run_command(stage, "start", BEGIN, settings)
            assert code == 0, stage.log
            stage.log.clear()
        stage.proxies[row.where].add(make_rule(row, fault))
        endless = (row.call, fault) == ("GitHub get runner", "404")
        timeout = {"timeout": SHORT_TIMEOUT} if endless else {}
        code = await run_command(stage, play["command"], play["own"] | timeout, settings)
        return await look(stage, code)


async def prepare(stage: Stage, credential: str) -> dict[str, str | None]:
    """Give the launcher its credential for GitHub; returns settings."""
    match credential:
        case "app":
            private, *numbers = make_app_key()
            apps = stage.hub.world.apps
            app = apps.add("runners", *numbers)
            apps.install(app, "octo")
            return {"github_pat": None, "github_app_id": str(app.id), "github_app_key": private}
        case "ssm":
            await asyncio.to_thread(ssm.put, stage.moto, SECRET, PAT)
            return {"github_pat": f"ssm:{SECRET}"}
        case "secretsmanager":
            name = f"{SECRET}-{secrets.token_hex(4)}"
            await asyncio.to_thread(create_secret, stage.moto, name, PAT)
            return {"github_pat": f"secretsmanager:{name}"}
    return {}


async def run_command(
    stage: Stage, command: str, own: dict[str, str], settings: dict[str, Any]
) -> int:
    """Run one command of the launcher to its end."""
    own = {"timeout": TIMEOUT, **own}
    labels, order, read, _, more = cli._read(command, own, {}, stage.environment(**settings))
    stages = open_stages(read, labels, MemoryJournal(), aws.REGION, **more)
    return int(await cli._run(command, order, read, stages, Interruption()))


async def look(stage: Stage, code: int | str) -> Ended:
    """Say how it ended and what is left."""
    tasks = [task.facts.id for task in stage.plane.tasks if task.desired == "RUNNING"]
    started = [task.facts.id for task in stage.plane.tasks]
    if stage.machines is not None:
        over = ("shutting-down", "terminated")
        tasks += [each.id for each in stage.machines.machines if each.state not in over]
        started += [each.id for each in stage.machines.machines]
    held = [ssm.read(stage.moto, f"{PREFIX}/{each}") is not None for each in started]
    return Ended(
        code,
        {event["event"] for event in stage.log},
        tuple(sorted({each["undo"] for each in stage.log if each["event"] == "cleanup.failed"})),
        len(tasks),
        len(started),
        sum(held),
        len(list(stage.hub.world.runners)),
        "\n".join(map(str, stage.log)),
    )
