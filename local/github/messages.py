"""Write the message that brings a job to its runner (actions/runner, `AgentJobRequestMessage`)."""

import secrets
from typing import Any

from local.github.jobs import Job, Step
from local.github.runners import Runner


def job(each: Job, runner: Runner, site: str, token: str) -> dict[str, Any]:
    """Write the message; `token` is the job's own."""
    connection = {
        "name": "SystemVssConnection",
        "url": f"{site}/run/",
        "authorization": {"parameters": {"AccessToken": token}, "scheme": "OAuth"},
        "data": {"ServerId": "00000000-0000-0000-0000-000000000002"},
        "isShared": False,
        "isReady": True,
    }
    variables = {
        "system.github.job": each.name,
        "system.github.results_endpoint": f"{site}/results/",
        "system.github.launch_endpoint": f"{site}/launch/",
        "system.runner.lowdiskspacethreshold": "100",
    }
    return {
        "messageType": "RunnerJobRequest",
        "plan": {"planType": "free", "planId": each.plan, "version": 0},
        "timeline": {"id": each.plan, "changeId": 1, "location": None},
        "jobId": each.key,
        "jobDisplayName": each.name,
        "jobName": "__default",
        "requestId": 0,
        "lockedUntil": "0001-01-01T00:00:00",
        "jobContainer": _token(each.container),
        "jobServiceContainers": _token(each.services),
        "jobOutputs": None,
        "resources": {"endpoints": [connection]},
        "contextData": {"github": {"t": 2, "d": _pairs(_context(each, runner, site))}},
        "workspace": {},
        "mask": [],
        "environmentVariables": [_map(each.env)] if each.env else [],
        "defaults": [],
        "variables": {name: {"value": value} for name, value in variables.items()},
        "steps": [_step(step) for step in each.steps],
        "fileTable": [".github/workflows/stand-in.yml"],
        "billingOwnerId": "O_1",
    }


def _context(each: Job, runner: Runner, site: str) -> dict[str, str]:
    scope = runner.scope
    repository = each.repository or f"{scope.owner}/{scope.repository or 'repo'}"
    return {
        "repository": repository,
        "repository_owner": repository.partition("/")[0],
        "run_id": str(each.run.id),
        "run_number": str(each.id),
        "run_attempt": str(each.attempt),
        "sha": secrets.token_hex(20),
        "ref": each.run.ref,
        "event_name": each.run.event,
        "actor": each.run.actor,
        "server_url": site,
        "api_url": f"{site}/api/v3",
    }


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"k": key, "v": value} for key, value in values.items()]


def _map(values: dict[str, Any]) -> dict[str, Any]:
    """Write a template token that is a mapping."""
    pairs = [{"Key": key, "Value": _token(value)} for key, value in values.items()]
    return {"type": 2, "map": pairs}


def _token(value: Any) -> Any:
    """Write a value of a workflow as a template token; a token stays as it is."""
    if isinstance(value, dict):
        return value if isinstance(value.get("type"), int) else _map(value)
    if isinstance(value, list):
        return {"type": 1, "seq": [_token(each) for each in value]}
    return value


def _script(step: Step) -> dict[str, str]:
    return {"script": step.run, **({"shell": step.shell} if step.shell else {})}


def _step(step: Step) -> dict[str, Any]:
    return {
        "type": "action",
        "reference": step.uses or {"type": "script"},
        "displayNameToken": step.name,
        "contextName": f"__run_{step.key[:8]}",
        "inputs": _map(step.inputs if step.uses else _script(step)),
        "condition": step.condition or "success()",
        "id": step.key,
        "name": "__run",
    }
