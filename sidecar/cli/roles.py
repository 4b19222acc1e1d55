"""`runner-sidecar roles`: explain which rule matches a job, or write the policies that rules need.

It reads SIDECAR_ROLES, or a file, and contacts nobody.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.errors import Exit
from sidecar.roles import trust
from sidecar.roles.document import RolesError, parse_roles
from sidecar.runner.job_identity import OF_REPOSITORY, JobIdentity
from sidecar.settings.given_roles import SETTING, RolesParameters, describe_roles, read_roles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sidecar.roles.rules import Roles

NONE_MATCHES = 1
"""The exit code where no rule gives the job a role."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what the arguments ask; return the exit code."""
    parser = _make_parser()
    try:
        given = parser.parse_args(list(arguments))
    except SystemExit as end:
        return Exit.SETTINGS if end.code else Exit.DONE
    try:
        roles = _read_roles(given.file, environ)
        if given.trust_policy:
            return _print_trust(roles, given.task_role, given.provider)
        return _explain(roles, _read_job(given))
    except RolesError as error:
        return _fail(*describe_roles(error))
    except (ValueError, OSError) as error:
        return _fail(f"cannot read it: {error}")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runner-sidecar roles",
        description="Explain which rule of SIDECAR_ROLES matches a job, and why the rules before "
        "it do not; or write the trust policies of the roles. Nothing is contacted.",
        allow_abbrev=False,
    )
    parser.add_argument("--file", metavar="PATH", help="the rules; default: SIDECAR_ROLES")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--explain", action="store_true", help="the default: explain a job")
    what.add_argument("--trust-policy", action="store_true", help="write the policies, as JSON")
    job = parser.add_argument_group("the job")
    job.add_argument("--event-file", metavar="PATH", help="the event's payload, as GitHub sends it")
    for name, example in (
        ("repository", "octo-org/app"),
        ("repository-id", "42"),
        ("ref", "refs/heads/main"),
        ("event", "push"),
        ("workflow", "octo-org/app/.github/workflows/ci.yml"),
        ("actor", "mona"),
        ("environment", "production"),
    ):
        job.add_argument(f"--{name}", metavar=example)
    job.add_argument("--ref-protected", action="store_true", default=None)
    job.add_argument("--fork", action="store_true", default=None, help="its commit is a fork's")
    policy = parser.add_argument_group("the policies")
    policy.add_argument("--task-role", metavar="ARN", default="", help="the agent's own role")
    policy.add_argument(
        "--provider", default=trust.GITHUB, help="GitHub's issuer, without https://"
    )
    return parser


def _read_roles(path: str | None, environ: Mapping[str, str]) -> Roles:
    """Read the rules. Raises ValueError or OSError."""
    if path is not None:
        return parse_roles(Path(path).read_text(encoding="utf-8"))
    if not environ.get(SETTING, "").strip():
        message = f"neither --file nor {SETTING} is set"
        raise ValueError(message)
    found = read_roles(environ[SETTING].strip())
    if found is None or isinstance(found, RolesParameters):
        message = f"{SETTING} is in SSM: write the parameters' texts into a file, and name it"
        raise ValueError(message)
    return found


def _read_job(given: argparse.Namespace) -> JobIdentity:
    """Read a job from a payload, then from the options, which win."""
    job = JobIdentity(event=given.event)
    if given.event_file is not None:
        event = json.loads(Path(given.event_file).read_text(encoding="utf-8"))
        job = _read_payload(event if isinstance(event, dict) else {}, job)
    known = {
        "repository": given.repository,
        "repository_id": given.repository_id,
        "ref": given.ref,
        "actor": given.actor,
        "environment": given.environment,
        "ref_protected": given.ref_protected,
        "from_fork": given.fork,
    }
    job = replace(job, **{key: value for key, value in known.items() if value is not None})
    if job.from_fork is None and (job.event in OF_REPOSITORY or given.event_file is None):
        job = replace(job, from_fork=False)
    if given.workflow is not None:
        job = replace(job, workflow_ref=f"{given.workflow}@{job.ref or ''}")
    return job


def _read_payload(event: Mapping[str, Any], job: JobIdentity) -> JobIdentity:
    """Read what the payload of an event says; GitHub writes it for the job's own file, too."""
    repository = event.get("repository") or {}
    pull_request = event.get("pull_request")
    sender = event.get("sender") or {}
    job = replace(
        job,
        event=job.event or ("pull_request" if pull_request else "push"),
        repository=repository.get("full_name"),
        repository_id=str(repository["id"]) if "id" in repository else None,
        ref=event.get("ref"),
        actor=sender.get("login"),
    )
    if isinstance(pull_request, dict):
        head = (pull_request.get("head") or {}).get("repo")
        from_fork = head is None or head.get("id") != repository.get("id")
        number = pull_request.get("number")
        job = replace(job, ref=f"refs/pull/{number}/merge", from_fork=from_fork)
    return job


def _explain(roles: Roles, job: JobIdentity) -> int:
    """Print why each rule matches or not; return 0 if the job has a role."""
    match = roles.find(job)
    for rule in roles.jobs:
        mismatch = rule.when.mismatch(job)
        print(f"{rule.name}: {'matches' if mismatch is None else f'no: {mismatch}'}")
        if mismatch is None:
            break
    if match is None or match.terms.role == "none":
        print("=> no role: the job has no credentials of AWS")
        return NONE_MATCHES
    print(f"=> {match.terms.role}, by {match.name}, proof {match.terms.proof}")
    return Exit.DONE


def _print_trust(roles: Roles, task_role: str, provider: str) -> int:
    """Print the policies, and on standard error what they do not prove."""
    agent = trust.write_agent_policy(roles)
    if agent is not None and not task_role:
        return _fail("--task-role is missing: the ARN of the agent's own role, which is trusted")
    sys.stderr.write(f"{trust.WARNING}\n" if agent is not None else "")
    for line in trust.find_limits(roles):
        sys.stderr.write(f"{line}\n")
    policies = {"roles": trust.write_trust(roles, task_role, provider), "task_role": agent}
    print(json.dumps(policies, indent=2))
    return Exit.DONE


def _fail(*lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"{line}\n")
    return Exit.SETTINGS
