"""Write the message that brings a job to its runner (actions/runner, `AgentJobRequestMessage`)."""

import secrets
from typing import Any

from local.github import payloads
from local.github.jobs import Job, Step
from local.github.runners import Runner
from local.github.runs import Run


def job(each: Job, runner: Runner, site: str, token: str) -> dict[str, Any]:
    """Write the message; `token` is the job's own."""
    data = {"ServerId": "00000000-0000-0000-0000-000000000002"}
    if each.id_token_url:  # `permissions: id-token: write`
        data["GenerateIdTokenUrl"] = each.id_token_url
    connection = {
        "name": "SystemVssConnection",
        "url": f"{site}/run/",
        "authorization": {"parameters": {"AccessToken": token}, "scheme": "OAuth"},
        "data": data,
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


def _context(each: Job, runner: Runner, site: str) -> dict[str, Any]:
    scope = runner.scope
    repository = each.repository or f"{scope.owner}/{scope.repository or 'repo'}"
    return {
        "repository": repository,
        "repository_id": str(payloads.number_of(repository)),
        "repository_owner": repository.partition("/")[0],
        "workflow": each.run.workflow,
        "workflow_ref": f"{repository}/.github/workflows/{each.run.workflow_file}@{each.run.ref}",
        "ref_protected": each.run.ref_protected,
        "run_id": str(each.run.id),
        "run_number": str(each.id),
        "run_attempt": str(each.attempt),
        "sha": secrets.token_hex(20),
        "ref": each.run.ref,
        "event_name": each.run.event,
        "actor": each.run.actor,
        "triggering_actor": each.run.actor,
        "server_url": site,
        "api_url": f"{site}/api/v3",
        "event": _event(each.run, repository),
    }


def _event(run: Run, repository: str) -> dict[str, Any]:
    """Write the part of the event that started the run, which tells where its commit comes from."""
    described = {"id": payloads.number_of(repository), "full_name": repository}
    event: dict[str, Any] = {"repository": described, "sender": {"login": run.actor}}
    if run.pull_request:
        head = run.head_repository or repository
        from_fork = {"id": payloads.number_of(head), "full_name": head, "fork": head != repository}
        event["number"] = run.pull_request
        event["pull_request"] = {
            "number": run.pull_request,
            "head": {
                "ref": run.head_branch,
                "sha": run.sha,
                "repo": None if run.head_deleted else from_fork,
            },
            "base": {"ref": "main", "repo": described},
        }
    return event


def _pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Write a mapping's items as the runner reads them (`PipelineContextData`)."""
    return [{"k": key, "v": _context_value(value)} for key, value in values.items()]


def _context_value(value: Any) -> Any:
    if isinstance(value, bool):
        return {"t": 3, "b": value}
    if isinstance(value, int):
        return {"t": 4, "n": value}
    return {"t": 2, "d": _pairs(value)} if isinstance(value, dict) else value


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
