"""The variables of a job's steps."""

import os

from . import system
from .message import Job


def find_tools(work: str) -> str:
    """Return the folder of the tool cache."""
    return os.environ.get("AGENT_TOOLSDIRECTORY") or os.path.join(work, "_tool")


def find_event_file(temp: str) -> str:
    """Return the path of the event that started the workflow."""
    return os.path.join(temp, "_github_workflow", "event.json")


def make_variables(job: Job, runner: str, work: str, workspace: str) -> dict[str, str]:
    """Return the variables of GitHub and of the runner; `runner` is its name."""
    temp = os.path.join(work, "_temp")
    server = job.github_text("server_url")
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION": "__run",
        **_context_variables(job),
        **_id_token_variables(job),
        "GITHUB_API_URL": f"{server}/api/v3",
        "GITHUB_GRAPHQL_URL": f"{server}/api/graphql",
        "GITHUB_BASE_REF": "",
        "GITHUB_HEAD_REF": "",
        "GITHUB_EVENT_PATH": find_event_file(temp),
        "GITHUB_JOB": job.name,
        "GITHUB_REF_NAME": job.github_text("ref").split("/", 2)[-1],
        "GITHUB_REF_PROTECTED": job.github_text("ref_protected").lower() or "false",
        "GITHUB_REF_TYPE": "branch",
        "GITHUB_RETENTION_DAYS": "90",
        "GITHUB_WORKSPACE": workspace,
        "CI": "true",
        "RUNNER_NAME": runner,
        "RUNNER_OS": system.name(),
        "RUNNER_ARCH": system.architecture(),
        "RUNNER_ENVIRONMENT": "self-hosted",
        "RUNNER_TEMP": temp,
        "RUNNER_TOOL_CACHE": find_tools(work),
        "RUNNER_WORKSPACE": os.path.dirname(workspace),
    }


def _id_token_variables(job: Job) -> dict[str, str]:
    """Return what a job with `id-token: write` asks for its OIDC token by (`Handler`)."""
    if not job.id_token_url:
        return {}
    return {
        "ACTIONS_ID_TOKEN_REQUEST_URL": job.id_token_url,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": job.token,
    }


_PASSED_ON = (
    *("actor", "event_name", "ref", "repository", "repository_id", "repository_owner"),
    *("run_attempt", "run_id", "run_number", "server_url", "sha", "triggering_actor"),
    *("workflow", "workflow_ref"),
)
"""What a step gets of the job's github context (actions/runner, `GitHubContext`)."""


def _context_variables(job: Job) -> dict[str, str]:
    """Return the variables that are the github context's own; a text that is not there is none."""
    return {
        f"GITHUB_{name.upper()}": job.github_text(name) for name in _PASSED_ON if name in job.github
    }
