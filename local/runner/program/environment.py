"""The variables of a job's steps."""

import os

from . import system
from .message import Job

SHELLS = {"bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"], "sh": ["sh", "-e"]}
"""The commands of the values of `shell:`."""


def find_tools(work: str) -> str:
    """Return the folder of the tool cache."""
    return os.environ.get("AGENT_TOOLSDIRECTORY") or os.path.join(work, "_tool")


def make_variables(job: Job, runner: str, work: str, workspace: str) -> dict[str, str]:
    """Return the variables of GitHub and of the runner; `runner` is its name."""
    temp = os.path.join(work, "_temp")
    server = job.github_text("server_url")
    run = job.github_text("run_id")
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION": "__run",
        "GITHUB_ACTOR": "octocat",
        "GITHUB_TRIGGERING_ACTOR": "octocat",
        "GITHUB_API_URL": f"{server}/api/v3",
        "GITHUB_GRAPHQL_URL": f"{server}/api/graphql",
        "GITHUB_SERVER_URL": server,
        "GITHUB_BASE_REF": "",
        "GITHUB_HEAD_REF": "",
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_EVENT_PATH": os.path.join(temp, "_github_workflow", "event.json"),
        "GITHUB_JOB": job.name,
        "GITHUB_REF": "refs/heads/main",
        "GITHUB_REF_NAME": "main",
        "GITHUB_REF_PROTECTED": "false",
        "GITHUB_REF_TYPE": "branch",
        "GITHUB_REPOSITORY": job.github_text("repository"),
        "GITHUB_REPOSITORY_OWNER": job.github_text("repository").partition("/")[0],
        "GITHUB_RETENTION_DAYS": "90",
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_RUN_ID": run,
        "GITHUB_RUN_NUMBER": run,
        "GITHUB_SHA": job.github_text("sha"),
        "GITHUB_WORKFLOW": "stand-in",
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
