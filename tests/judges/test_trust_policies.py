"""The trust policies that `runner-sidecar roles` writes, judged by AWS's rules.

First it is shown that the judge judges such policies: by session tags and by web identity.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.roles import session, trust
from sidecar.roles.document import parse_roles
from sidecar.runner.job_identity import JobIdentity

pytestmark = pytest.mark.node

JUDGE = Path(__file__).with_name("simulate_trust.mjs")
ACCOUNT = "arn:aws:iam::123456789012"
TASK, STRANGER, DEPLOY, BUILD = (
    f"{ACCOUNT}:role/{name}" for name in ("task", "stranger", "deploy", "build")
)
GITHUB = f"{ACCOUNT}:oidc-provider/{trust.GITHUB}"
ASSUME, TAG, BY_TOKEN = "sts:AssumeRole", "sts:TagSession", "sts:AssumeRoleWithWebIdentity"
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def judge(questions):
    """Return for each question whether AWS would allow it."""
    done = subprocess.run(
        ["node", str(JUDGE)],
        input=json.dumps(questions),
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return [answer["allowed"] for answer in json.loads(done.stdout)]


def ask(action, document, context, principal=TASK, policy=EVERYTHING, role=DEPLOY):
    """Return one question."""
    return {
        "principal": principal,
        "action": action,
        "role": role,
        "context": context,
        "policies": [{"Version": "2012-10-17", **policy}] if policy else [],
        "trust": document,
    }


def make_trust(principal, actions, conditions):
    """Write a trust policy by hand, as AWS's documents do."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": actions}
    return {"Version": "2012-10-17", "Statement": [{**statement, "Condition": conditions}]}


BY_HAND = make_trust(
    {"AWS": TASK},
    [ASSUME, TAG],
    {
        "StringEquals": {"aws:RequestTag/ref": ["refs/heads/main", "refs/heads/next"]},
        "StringLike": {"aws:RequestTag/repository": "octo/*"},
    },
)
MAIN = {"aws:RequestTag/ref": "refs/heads/main", "aws:RequestTag/repository": "octo/app"}
OF_ACCOUNT = make_trust({"AWS": f"{ACCOUNT}:root"}, [ASSUME, TAG], {})
CLAIMS = make_trust(
    {"Federated": GITHUB},
    BY_TOKEN,
    {
        "StringEquals": {f"{trust.GITHUB}:aud": "sts.amazonaws.com"},
        "StringLike": {f"{trust.GITHUB}:sub": "repo:octo/app:*"},
    },
)
TOKEN = {f"{trust.GITHUB}:aud": "sts.amazonaws.com", f"{trust.GITHUB}:sub": "repo:octo/app:ref:x"}


def test_the_judge_judges_session_tags_and_web_identity():
    """Each condition decides, a missing value denies, and so does another principal."""
    table = [
        (True, ask(ASSUME, BY_HAND, MAIN)),
        (True, ask(TAG, BY_HAND, MAIN)),
        (True, ask(ASSUME, BY_HAND, MAIN, policy=None)),  # named by its ARN, in its account
        (False, ask(ASSUME, OF_ACCOUNT, {}, policy=None)),
        (True, ask(ASSUME, OF_ACCOUNT, {})),
        (False, ask(ASSUME, BY_HAND, MAIN, principal=STRANGER)),
        (False, ask(ASSUME, BY_HAND, {})),
        (False, ask(ASSUME, BY_HAND, {**MAIN, "aws:RequestTag/ref": "refs/heads/x"})),
        (False, ask(ASSUME, BY_HAND, {**MAIN, "aws:RequestTag/ref": "refs/heads/Main"})),
        (False, ask(ASSUME, BY_HAND, {**MAIN, "aws:RequestTag/repository": "evil/app"})),
        (False, ask(ASSUME, BY_HAND, {"aws:RequestTag/repository": "octo/app"})),
        (True, ask(BY_TOKEN, CLAIMS, TOKEN, principal=GITHUB, policy=None)),
        (False, ask(BY_TOKEN, CLAIMS, TOKEN, principal=f"{GITHUB}.evil", policy=None)),
        (False, ask(BY_TOKEN, CLAIMS, {**TOKEN, f"{trust.GITHUB}:aud": "x"}, GITHUB, None)),
        (False, ask(BY_TOKEN, CLAIMS, {f"{trust.GITHUB}:aud": "sts.amazonaws.com"}, GITHUB, None)),
        (False, ask(ASSUME, CLAIMS, TOKEN)),
        (False, ask(BY_TOKEN, BY_HAND, {**TOKEN, **MAIN}, GITHUB, None)),
    ]
    assert judge([question for _, question in table]) == [expected for expected, _ in table]


RULES = f"""
[[job]]
name = "deploy"
repository = "octo/app"
ref = ["refs/heads/main", "refs/heads/release/**"]
workflow = ".github/workflows/deploy.yml"
role = "{DEPLOY}"
tags = {{ team = "web" }}

[[job]]
name = "build"
repository = "octo/*"
event = ["push", "pull_request"]
actor = "mona"
role = "{BUILD}"
"""
JOBS = [
    JobIdentity(
        repository=repository,
        repository_id="7",
        ref=ref,
        event=event,
        actor=actor,
        workflow_ref=f"{repository}/.github/workflows/{workflow}.yml@{ref}",
        run_id="5",
        run_attempt="1",
        from_fork=False,
    )
    for repository, ref, event, actor, workflow in itertools.product(
        ("octo/app", "octo/site", "evil/app", "octo/app2"),
        ("refs/heads/main", "refs/heads/release/1/x", "refs/heads/dev", "refs/tags/main", "a#b"),
        ("push", "pull_request", "pull_request_target"),
        ("mona", "mallory"),
        ("deploy", "ci"),
    )
]
"""Every combination of what the rules compare."""


def test_a_role_s_trust_by_tags_is_that_of_its_rule():
    """For 240 jobs: AWS gives a role to whom the rule is for, and to nobody else.

    The rules are judged one by one: that the first one wins is the agent's own decision.
    """
    roles = parse_roles(RULES)
    documents = trust.write_trust(roles, TASK)
    policy = trust.write_agent_policy(roles)
    questions, expected = [], []
    for job, rule in itertools.product(JOBS, roles.jobs):
        tags = session.make_tags(job, rule.terms.tags)
        context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        context["aws:TagKeys"] = list(tags)
        for action in (ASSUME, TAG):
            document, role = documents[rule.terms.role], rule.terms.role
            questions.append(ask(action, document, context, policy=policy, role=role))
            expected.append(rule.when.mismatch(job) is None)
    assert judge(questions) == expected
    assert 10 < sum(expected) < len(expected) / 2


def test_the_task_role_may_take_no_other_role():
    """The least policy names the roles of the rules; with GitHub's token it is none at all.

    A role whose trust policy names the task role itself needs no policy, in the same account.
    """
    policy = trust.write_agent_policy(parse_roles(RULES))
    other = f"{ACCOUNT}:role/admin"
    assert judge([ask(ASSUME, OF_ACCOUNT, {}, policy=policy, role=other)]) == [False]
    assert judge([ask(ASSUME, OF_ACCOUNT, {}, policy=policy)]) == [True]
    assert trust.write_agent_policy(parse_roles(PRODUCTION)) is None


def test_a_job_without_the_tag_that_a_rule_compares_is_denied():
    """A ref that STS does not take is no tag; it is not taken for another one."""
    roles = parse_roles(f'[[job]]\nref = "refs/heads/**"\nrole = "{DEPLOY}"')
    (document,) = trust.write_trust(roles, TASK).values()
    answers = []
    for ref in ("refs/heads/a", "refs/heads/a#b"):
        tags = session.make_tags(replace(JOBS[0], ref=ref), {})
        context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        answers.append(ask(ASSUME, document, context))
    assert judge(answers) == [True, False]


PRODUCTION = f"""
[[job]]
repository = "octo/app"
repository_id = 7
ref = "refs/heads/main"
workflow = ".github/workflows/deploy.yml"
environment = "production"
actor = "mona"
role = "{DEPLOY}"
proof = "oidc"
"""


def test_a_role_s_trust_by_token_compares_every_claim():
    """Each of the claims by itself denies, whatever the subject's form is."""
    (document,) = trust.write_trust(parse_roles(PRODUCTION), TASK).values()
    right = {
        "aud": "sts.amazonaws.com",
        "sub": "repo:octo/app:environment:production",
        "repository": "octo/app",
        "repository_id": "7",
        "ref": "refs/heads/main",
        "environment": "production",
        "actor": "mona",
        "job_workflow_ref": "octo/app/.github/workflows/deploy.yml@refs/heads/main",
    }
    numbered = {**right, "sub": "repo:octo@3/app@7:environment:production"}
    wrong = [
        *(
            {**right, name: value[:-1] + "x"}
            for name, value in right.items()
            if name != "sub" and name != "job_workflow_ref"
        ),
        {**right, "sub": "repo:octo/app2:environment:production"},
        {**right, "sub": "repo:evil/app:environment:production"},
        {**right, "job_workflow_ref": "octo/app/.github/workflows/ci.yml@refs/heads/main"},
        *({key: text for key, text in right.items() if key != name} for name in right),
    ]
    claims = [right, numbered, *wrong]
    questions = [
        ask(
            BY_TOKEN,
            document,
            {f"{trust.GITHUB}:{name}": value for name, value in said.items()},
            GITHUB,
            None,
        )
        for said in claims
    ]
    assert judge(questions) == [True, True, *[False] * len(wrong)]
    assert judge([ask(ASSUME, document, {})]) == [False]
