"""Write the policies that the rules need: trust policies of the jobs' roles, and the agent's own.

With proof "runner" AWS decides by session tags, with "oidc" by the claims of GitHub's token. The
claims that AWS' trust policies know: aud, sub, and since January 2026 actor, repository,
repository_id, ref, environment, job_workflow_ref (IAM User Guide, "IAM and AWS STS condition
context keys", OIDC federation, GitHub).
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

from sidecar.roles.rules import NONE, TASK, Conditions, Proof

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sidecar.roles.rules import JobRule, Roles, Terms

VERSION = "2012-10-17"
GITHUB = "token.actions.githubusercontent.com"
WARNING = (
    'With proof = "runner" AWS believes the task role, and whoever has the task role may claim '
    "any repository: only for tasks whose jobs have neither sudo nor docker. Elsewhere use "
    'proof = "oidc", and let the task role assume nothing.'
)
_TAGS = ("repository", "ref", "workflow", "event", "actor")
"""The conditions that are session tags."""

Statement = dict[str, Any]


def write_trust(roles: Roles, task_role: str, provider: str = GITHUB) -> dict[str, Any]:
    """Return the trust policy of each role that the rules name.

    `task_role` is the ARN of the agent's own role, `provider` GitHub's issuer without https://.
    """
    found: dict[str, list[Statement]] = {}
    for rule in roles.jobs:
        given = [rule.terms.role] if rule.terms.role != NONE else []
        for role in (*given, *sorted(rule.container_roles)):
            statement = _write_statement(rule, role, task_role, provider)
            found.setdefault(role, []).append(statement)
    default = roles.default
    if default.role not in (NONE, TASK):
        found.setdefault(default.role, []).append(_write_default(default, task_role, provider))
    return {
        role: {"Version": VERSION, "Statement": _number(statements)}
        for role, statements in found.items()
    }


def write_agent_policy(roles: Roles) -> dict[str, Any] | None:
    """Return the least policy of the task role; None if it may do nothing for the rules."""
    assumed = find_assumed(roles)
    if not assumed:
        return None
    actions = _actions(naming=any(assumed.values()))
    statement = {"Effect": "Allow", "Action": actions, "Resource": sorted(assumed)}
    return {"Version": VERSION, "Statement": [statement]}


def list_agent_calls(roles: Roles) -> list[tuple[str, str]]:
    """List the calls that the rules make with the task role: each action, with its role's ARN."""
    return [
        (action, role)
        for role, naming in sorted(find_assumed(roles).items())
        for action in _actions(naming=naming)
    ]


def find_assumed(roles: Roles) -> dict[str, bool]:
    """Return the roles that the task role assumes, each with whether a SourceIdentity is set."""
    found: dict[str, bool] = {}
    for rule in roles.jobs:
        for role in (rule.terms.role, *rule.container_roles):
            _note_assumed(found, rule.terms, role)
    _note_assumed(found, roles.default, roles.default.role)
    return found


def _note_assumed(found: dict[str, bool], terms: Terms, role: str) -> None:
    if terms.proof is Proof.RUNNER and terms.role not in (NONE, TASK):
        found[role] = found.get(role, False) or terms.source_identity is not None


def find_limits(roles: Roles) -> Iterator[str]:
    """Yield what a trust policy cannot say of the rules, so that the agent alone decides it."""
    for rule in roles.jobs:
        keys = [key for key in _find_unproved(rule) if key]
        if keys and rule.terms.role != NONE:
            yield f"{rule.name}: the agent alone compares {', '.join(keys)}"
        if any(re.search(r"(?<!\*)\*(?!\*)", one) for one in rule.when.ref):
            yield f"{rule.name}: in ref, a '*' of IAM's crosses '/', and the rule's does not"


def _find_unproved(rule: JobRule) -> Iterator[str]:
    when = rule.when
    yield "fork" if when.fork else ""
    if rule.terms.proof is Proof.OIDC:
        yield "event"
        yield "ref_protected" if when.ref_protected is not None else ""
        return
    yield "repository_id" if when.repository_id else ""
    yield "ref_protected" if when.ref_protected is not None else ""


def _write_statement(rule: JobRule, role: str, task_role: str, provider: str) -> Statement:
    sid = re.sub(r"[^A-Za-z0-9]", "", rule.name) or "rule"
    if rule.terms.proof is Proof.OIDC:
        return _by_token(sid, rule.when, role, provider)
    return _by_tags(sid, rule.when, rule.terms, task_role)


def _write_default(default: Terms, task_role: str, provider: str) -> Statement:
    if default.proof is Proof.OIDC:
        return _by_token("default", Conditions(), default.role, provider)
    return _by_tags("default", Conditions(), default, task_role)


# ---- by session tags ----------------------------------------------------------------------------


def _by_tags(sid: str, when: Conditions, terms: Terms, task_role: str) -> Statement:
    values = {
        "repository": when.repository or ("*",),
        "ref": when.ref,
        "workflow": _workflow_files(when),
        "event": when.event,
        "actor": when.actor,
    }
    keys = {f"aws:RequestTag/{name}": values[name] for name in _TAGS if values[name]}
    keys |= {f"aws:RequestTag/{name}": (text,) for name, text in terms.tags.items()}
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": task_role},
        "Action": _actions(naming=terms.source_identity is not None),
        "Condition": _conditions(keys),
    }


def _actions(*, naming: bool) -> list[str]:
    return [
        "sts:AssumeRole",
        "sts:TagSession",
        *(["sts:SetSourceIdentity"] if naming else []),
    ]


def _workflow_files(when: Conditions) -> tuple[str, ...]:
    """Return the workflows with their repository before them, as the tag has them."""
    owners = when.repository or ("*",)
    return tuple(
        dict.fromkeys(
            f"{owner}/{one}" if one.startswith(".github/") else one
            for one, owner in itertools.product(when.workflow, owners)
        )
    )


# ---- by GitHub's token --------------------------------------------------------------------------


def _by_token(sid: str, when: Conditions, role: str, provider: str) -> Statement:
    account, partition = role.split(":")[4], role.split(":")[1]
    audience = "sts.amazonaws.com.cn" if partition == "aws-cn" else "sts.amazonaws.com"
    values = {
        "aud": (audience,),
        "sub": tuple(_subjects(when)),
        "repository": when.repository,
        "repository_id": when.repository_id,
        "ref": when.ref,
        "environment": when.environment,
        "actor": when.actor,
        "job_workflow_ref": tuple(f"{one}@*" for one in _workflow_files(when)),
    }
    keys = {f"{provider}:{name}": found for name, found in values.items() if found}
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:{partition}:iam::{account}:oidc-provider/{provider}"},
        "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": _conditions(keys),
    }


def _subjects(when: Conditions) -> Iterator[str]:
    """Return the subjects, which AWS wants compared: also in the form that holds numbers."""
    for repository in when.repository or ("*/*",):
        owner, _, name = repository.partition("/")
        yield f"repo:{owner}/{name}:*"
        yield f"repo:{owner}@*/{name}@*:*"


# ---- common -------------------------------------------------------------------------------------


def _conditions(keys: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return IAM's conditions: exact ones apart, since a star is special only to StringLike."""
    found: dict[str, dict[str, Any]] = {}
    for key, values in keys.items():
        kind = "StringLike" if any("*" in one for one in values) else "StringEquals"
        plain = [one.replace("**", "*") for one in values]
        found.setdefault(kind, {})[key] = plain[0] if len(plain) == 1 else plain
    return found


def _number(statements: Iterable[Statement]) -> list[Statement]:
    """Return statements whose Sids differ."""
    seen: dict[str, int] = {}
    numbered = []
    for one in statements:
        count = seen[one["Sid"]] = seen.get(one["Sid"], 0) + 1
        numbered.append(one if count == 1 else {**one, "Sid": f"{one['Sid']}{count}"})
    return numbered
