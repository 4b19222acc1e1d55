"""Jobs, runs, repositories and webhooks in GitHub's own form. Nothing here knows HTTP."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

from local.github.bodies import account, utc

if TYPE_CHECKING:
    from local.github.apps import Installation
    from local.github.jobs import Job, Step
    from local.github.runs import Run

API = "https://api.github.com"
SITE = "https://github.com"
CONCLUSIONS = {
    "succeeded": "success",
    "failed": "failure",
    "canceled": "cancelled",
    "abandoned": "failure",
    "skipped": "skipped",
}
STATUSES = {"running": "in_progress"}
_LINKS = (
    "forks keys{/key_id} collaborators{/collaborator} teams hooks issue_events{/number} events "
    "assignees{/user} branches{/branch} tags blobs{/sha} git_tags{/sha} git_refs{/sha} trees{/sha} "
    "statuses{/sha} languages stargazers contributors subscribers subscription commits{/sha} "
    "git_commits{/sha} comments{/number} issue_comment{/number} contents{/+path} "
    "compare{/base}...{head} merges archive{/archive_format}{/ref} downloads issues{/number} "
    "pulls{/number} milestones{/number} notifications{?since,all,participating} labels{/name} "
    "releases{/id} deployments"
)
_BEGAN = 1_600_000_000


def number_of(name: str) -> int:
    """Return the number of an account or a repository: always the same for the same name."""
    return zlib.crc32(name.lower().encode()) + 1


def node_id(kind: str, number: int) -> str:
    """Return a node id of GraphQL."""
    return base64.b64encode(f"0{len(kind)}:{kind}{number}".encode()).decode()


def repository(name: str, api: str = API, site: str = SITE) -> dict[str, Any]:
    """Describe a repository as REST does where it is a part of something else."""
    owner, _, own = name.partition("/")
    url, page = f"{api}/repos/{name}", f"{site}/{name}"
    links = {}
    for link in _LINKS.split():
        word, _, template = link.partition("{")
        links[f"{word}_url"] = f"{url}/{word}" + (f"{{{template}" if template else "")
    return {
        "id": number_of(name),
        "node_id": node_id("Repository", number_of(name)),
        "name": own,
        "full_name": name,
        "private": True,
        "owner": account(owner, "Organization", api, site),
        "html_url": page,
        "description": None,
        "fork": False,
        "url": url,
        **links,
    }


def whole_repository(name: str) -> dict[str, Any]:
    """Describe a repository as a webhook does."""
    host = SITE.partition("://")[2]
    counts = ("size", "stargazers_count", "watchers_count", "forks_count", "open_issues_count")
    return {
        **repository(name),
        **{key: utc(_BEGAN) for key in ("created_at", "updated_at", "pushed_at")},
        "git_url": f"git://{host}/{name}.git",
        "ssh_url": f"git@{host}:{name}.git",
        "clone_url": f"{SITE}/{name}.git",
        "svn_url": f"{SITE}/{name}",
        **dict.fromkeys((*counts, "forks", "open_issues", "watchers"), 0),
        **dict.fromkeys(("homepage", "language", "mirror_url", "license")),
        **dict.fromkeys(("has_issues", "has_projects", "has_downloads", "has_wiki"), True),
        **dict.fromkeys(("has_pages", "archived", "disabled", "is_template"), False),
        "allow_forking": True,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private",
        "default_branch": "main",
        "custom_properties": {},
    }


def job(each: Job, api: str = API, site: str = SITE, groups: list[str] | None = None) -> Any:
    """Describe a job: REST's schema `job`, which is `workflow_job` in a webhook."""
    url, page = f"{api}/repos/{each.run.full_name}", f"{site}/{each.run.full_name}"
    names = groups or ["Default"]
    taken = each.runner_id != 0
    return {
        "id": each.id,
        "run_id": each.run.id,
        "workflow_name": each.run.workflow,
        "head_branch": each.run.head_branch,
        "run_url": f"{url}/actions/runs/{each.run.id}",
        "run_attempt": each.attempt,
        "node_id": node_id("CheckRun", each.id),
        "head_sha": each.run.sha,
        "url": f"{url}/actions/jobs/{each.id}",
        "html_url": f"{page}/actions/runs/{each.run.id}/job/{each.id}",
        "status": STATUSES.get(each.state, each.state),
        "conclusion": CONCLUSIONS.get(each.result) if each.state == "completed" else None,
        "created_at": utc(each.queued_at),
        "started_at": utc(each.started_at or each.queued_at),
        "completed_at": utc(each.completed_at) if each.state == "completed" else None,
        "name": each.name,
        "steps": _steps(each),
        "check_run_url": f"{url}/check-runs/{each.id}",
        "labels": list(each.labels),
        "runner_id": each.runner_id if taken else None,
        "runner_name": each.runner_name if taken else None,
        "runner_group_id": each.group_id if taken else None,
        "runner_group_name": names[min(each.group_id, len(names)) - 1] if taken else None,
    }


def _steps(each: Job) -> list[dict[str, Any]]:
    if each.state in ("waiting", "queued"):
        return []
    return [_step(each, number, step) for number, step in enumerate(each.steps, 1)]


def _step(each: Job, number: int, step: Step) -> dict[str, Any]:
    ended = step.state == "completed"
    return {
        "name": step.name,
        "status": STATUSES.get(step.state, step.state),
        "conclusion": CONCLUSIONS.get(step.result) if ended else None,
        "number": number,
        "started_at": utc(each.started_at),
        "completed_at": utc(each.completed_at or each.started_at) if ended else None,
    }


def run(each: Run, jobs: list[Job], api: str = API, site: str = SITE) -> dict[str, Any]:
    """Describe a run: REST's schema `workflow-run`. `jobs` are those of its newest attempt."""
    url = f"{api}/repos/{each.full_name}"
    own, suite = f"{url}/actions/runs/{each.id}", each.id + 7
    status, conclusion = _outcome(jobs)
    actor = account(each.actor, "User", api, site)
    return {
        "id": each.id,
        "name": each.workflow,
        "node_id": node_id("WorkflowRun", each.id),
        "check_suite_id": suite,
        "check_suite_node_id": node_id("CheckSuite", suite),
        "head_branch": each.head_branch,
        "head_sha": each.sha,
        "path": ".github/workflows/stand-in.yml",
        "display_title": each.workflow,
        "run_number": each.id - 1_000_000,
        "run_attempt": each.attempt,
        "event": each.event,
        "status": status,
        "conclusion": conclusion,
        "workflow_id": number_of(each.workflow),
        "url": own,
        "html_url": f"{site}/{each.full_name}/actions/runs/{each.id}",
        "pull_requests": _pull_requests(each, url),
        "created_at": utc(each.started_at),
        "updated_at": utc(each.started_at),
        "run_started_at": utc(each.started_at),
        "actor": actor,
        "triggering_actor": actor,
        "jobs_url": f"{own}/jobs",
        "logs_url": f"{own}/logs",
        "check_suite_url": f"{url}/check-suites/{suite}",
        "artifacts_url": f"{own}/artifacts",
        "cancel_url": f"{own}/cancel",
        "rerun_url": f"{own}/rerun",
        "previous_attempt_url": f"{own}/attempts/{each.attempt - 1}" if each.attempt > 1 else None,
        "workflow_url": f"{url}/actions/workflows/{number_of(each.workflow)}",
        "referenced_workflows": [],
        "head_commit": _commit(each),
        "repository": repository(each.full_name, api, site),
        "head_repository": repository(each.head_name, api, site),
    }


def _outcome(jobs: list[Job]) -> tuple[str, str | None]:
    states = {each.state for each in jobs}
    if states == {"completed"}:
        results = [CONCLUSIONS.get(each.result, "failure") for each in jobs]
        worst = next((each for each in results if each != "success"), "success")
        return "completed", worst
    for state in ("running", "waiting", "queued"):
        if state in states:
            return STATUSES.get(state, state), None
    return "queued", None


def _pull_requests(each: Run, url: str) -> list[dict[str, Any]]:
    """List the pull requests of a run; GitHub lists none whose head is in a fork."""
    if not each.pull_request or each.head_name.lower() != each.full_name.lower():
        return []
    name = each.full_name
    own = {"id": number_of(name), "url": f"{API}/repos/{name}", "name": name.partition("/")[2]}
    return [
        {
            "id": number_of(f"{name}#{each.pull_request}"),
            "number": each.pull_request,
            "url": f"{url}/pulls/{each.pull_request}",
            "head": {"ref": each.head_branch, "sha": each.sha, "repo": own},
            "base": {"ref": "main", "sha": each.sha[::-1], "repo": own},
        }
    ]


def _commit(each: Run) -> dict[str, Any]:
    person = {"name": each.actor, "email": f"{each.actor}@example.com"}
    return {
        "id": each.sha,
        "tree_id": each.sha[::-1],
        "message": "Change something",
        "timestamp": utc(each.started_at),
        "author": person,
        "committer": person,
    }


def workflow_job(
    each: Job, action: str, installation: Installation | None, groups: list[str]
) -> dict[str, Any]:
    """Write the payload of the webhook `workflow_job`."""
    name = each.run.full_name
    owner = name.partition("/")[0]
    payload = {
        "action": action,
        "workflow_job": job(each, groups=groups),
        "repository": whole_repository(name),
        "sender": account(each.run.actor, "User", API, SITE),
    }
    if each.state == "waiting":
        payload["deployment"] = deployment(each)
    if installation is None or installation.account_type == "Organization":
        payload["organization"] = _organization(owner)
    if installation is not None:
        number = installation.id
        own = {"id": number, "node_id": node_id("IntegrationInstallation", number)}
        payload["installation"] = own
    return payload


def _organization(login: str) -> dict[str, Any]:
    url, number = f"{API}/orgs/{login}", number_of(login)
    calls = ("repos", "events", "hooks", "issues")
    return {
        "login": login,
        "id": number,
        "node_id": node_id("Organization", number),
        "url": url,
        **{f"{call}_url": f"{url}/{call}" for call in calls},
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"{SITE}/images/{login}.gif",
        "description": "",
    }


def deployment(each: Job) -> dict[str, Any]:
    """Describe the deployment that a job waits to be approved for."""
    url = f"{API}/repos/{each.run.full_name}"
    number = number_of(f"{each.environment} {each.id}")
    return {
        "url": f"{url}/deployments/{number}",
        "id": number,
        "node_id": node_id("Deployment", number),
        "task": "deploy",
        "original_environment": each.environment,
        "environment": each.environment,
        "description": None,
        "created_at": utc(each.queued_at),
        "updated_at": utc(each.queued_at),
        "statuses_url": f"{url}/deployments/{number}/statuses",
        "repository_url": url,
        "creator": account(each.run.actor, "User", API, SITE),
        "sha": each.run.sha,
        "ref": each.run.head_branch,
        "payload": {},
        "transient_environment": False,
        "production_environment": False,
        "performed_via_github_app": None,
    }
