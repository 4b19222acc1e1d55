"""The document of rules: read whole, with one line for every mistake."""

import json
import unicodedata

import pytest

from sidecar.roles import document
from sidecar.roles.document import RolesError, parse_roles
from sidecar.roles.rules import Conditions, JobRule, Proof, Roles, Terms
from sidecar.roles.tag_text import is_tag_text

ARN = "arn:aws:iam::123456789012:role/deploy"
OTHER = "arn:aws:iam::123456789012:role/other"
POLICY = {"Version": "2012-10-17", "Statement": []}
SHORT = json.dumps(POLICY, separators=(",", ":"))
JOB = f'[[job]]\nrole = "{ARN}"\n'
WHOLE = f"""
[default]
role = "task"

[[job]]
name = "deploy"
repository = ["octo-org/app", "octo-org/site-*"]
repository_id = [1, "2"]
ref = "refs/heads/main"
ref_protected = true
workflow = ".github/workflows/deploy.yml"
event = ["push", "workflow_dispatch"]
actor = "mona"
role = "{ARN}"
duration = "15m"
tags = {{ team = "web" }}
source_identity = "actor"
container_roles = ["{OTHER}"]
required = true

[[job]]
environment = "production"
role = "{ARN}"
policy = {{ Version = "2012-10-17", Statement = [] }}
proof = "oidc"
duration = "6h"
fork = true
event = "pull_request"
"""


def test_every_key_is_read():
    """The document of the how-to page, with all keys."""
    assert parse_roles(WHOLE) == Roles(
        (
            JobRule(
                "deploy",
                Conditions(
                    ("octo-org/app", "octo-org/site-*"),
                    ("1", "2"),
                    ("refs/heads/main",),
                    True,
                    (".github/workflows/deploy.yml",),
                    ("push", "workflow_dispatch"),
                    (),
                    ("mona",),
                ),
                Terms(ARN, None, 900, {"team": "web"}, Proof.RUNNER, "actor"),
                frozenset({OTHER}),
                True,
            ),
            JobRule(
                "job-2",
                Conditions(event=("pull_request",), environment=("production",), fork=True),
                Terms(ARN, SHORT, 21600, {}, Proof.OIDC),
            ),
        ),
        (),
        Terms("task"),
    )


def test_what_is_left_out_is_safe():
    """No role for jobs that no rule is for, the task's word as proof, an hour, no forks."""
    roles = parse_roles(JOB)
    assert roles.default.role == "none"
    (rule,) = roles.jobs
    assert rule == JobRule("job-1", Conditions(), Terms(ARN))
    assert (rule.required, rule.terms.duration, rule.terms.proof) == (False, 3600, Proof.RUNNER)
    assert (roles.proofs, roles.any_required) == (frozenset({Proof.RUNNER}), False)


LONG = json.dumps({"Statement": [{"Action": "x" * 2048}]})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x", "is not TOML: "),
        ("a = " + "[" * 2000, "is not TOML: it is nested too deeply"),
        ("", "has neither [[job]] nor [default]: no job would get a role"),
        ("job = 1", "job: must be tables: write [[job]]"),
        ("default = 1", "default: must be a table: write [default]"),
        (f"{JOB}[jobs]", "jobs: is no key here; did you mean job?"),
        ("[[job]]\nref = 'refs/heads/a'", "job 1: role: is required: the ARN of a role, or none"),
        (
            "[[job]]\nrole = 'deploy'",
            "job 1: role: must be the ARN of an IAM role, or none",
        ),
        (
            "[[job]]\nrole = 'task'",
            "job 1: role: must be the ARN of an IAM role, or none",
        ),
        (
            "[default]\nrole = 'job'",
            "[default]: role: must be the ARN of an IAM role, or none or task",
        ),
        (f"{JOB}repository = 'octo-org'", "job 1: repository: 'octo-org' must be owner/name or"),
        (f"{JOB}repository = '*/app'", "job 1: repository: '*/app' must be owner/name or owner/*"),
        (f"{JOB}repository = []", "job 1: repository: must not be empty: leave it out"),
        (f"{JOB}repository = 1", "job 1: repository: must be a list of text, not 1"),
        (f"{JOB}repository_id = 'a'", "job 1: repository_id: must be the number of a repository"),
        (f"{JOB}repository_id = true", "job 1: repository_id: must be the number of a repository"),
        (f"{JOB}repository_id = []", "job 1: repository_id: must be the number of a repository"),
        (f"{JOB}ref = 'main'", "job 1: ref: 'main' must be a whole ref, such as refs/heads/main"),
        (f"{JOB}ref = 'refs/*a*b*'", "job 1: ref: 'refs/*a*b*' must have 2 '*' at most"),
        (f"{JOB}ref_protected = 'yes'", "job 1: ref_protected: must be true or false, not 'yes'"),
        (f"{JOB}workflow = 'Deploy'", "job 1: workflow: 'Deploy' must be the workflow's file"),
        (
            f"{JOB}workflow = '.github/workflows/a.yml@main'",
            "job 1: workflow: '.github/workflows/a.yml@main' must be the workflow's file",
        ),
        (f"{JOB}event = '*'", "job 1: event: '*' must be an event's name, such as push"),
        (f"{JOB}event = 'pull_request*'", "job 1: event: 'pull_request*' must be an event's name"),
        (f"{JOB}event = []", "job 1: event: must not be empty: leave it out"),
        (f"{JOB}actor = 'a b'", "job 1: actor: 'a b' must be the name of a user"),
        (
            f"{JOB}environment = 'prod'",
            'job 1: environment: needs proof = "oidc": only GitHub\'s token tells it',
        ),
        (f"{JOB}duration = 899", "job 1: duration: must be a time such as 90s"),
        (f"{JOB}duration = '2h'", "job 1: duration: must be a time such as 90s"),
        (f"{JOB}proof = 'oidc'\nduration = '13h'", "job 1: duration: must be a time such as 90s"),
        (f"{JOB}proof = 'me'", "job 1: proof: must be runner or oidc, not 'me'"),
        (f"{JOB}proof = 'oidc'\ntags = {{ a = 'b' }}", 'job 1: tags: contradicts proof = "oidc"'),
        (
            f"{JOB}proof = 'oidc'\nsource_identity = 'actor'",
            'job 1: source_identity: contradicts proof = "oidc"',
        ),
        (f"{JOB}tags = {{ ref = 'b' }}", "job 1: tags: 'ref' is set by the agent"),
        (f"{JOB}tags = {{ Ref = 'b' }}", "job 1: tags: 'Ref' is set by the agent"),
        (f"{JOB}tags = {{ 'a#' = 'b' }}", "job 1: tags: 'a#' must be 1 to 128 letters"),
        (f"{JOB}tags = {{ 'aws:a' = 'b' }}", "job 1: tags: 'aws:a' must be 1 to 128 letters"),
        (f"{JOB}tags = {{ a = 'b#' }}", "job 1: tags: 'a' must have a value of 256"),
        (f"{JOB}tags = {{ a = '{'b' * 257}' }}", "job 1: tags: 'a' must have a value of 256"),
        (f"{JOB}tags = {{ a = 'b', A = 'c' }}", "job 1: tags: has two keys that differ by case"),
        (
            JOB + "tags = {" + ",".join(f"a{n} = 'b'" for n in range(41)) + "}",
            "job 1: tags: must have 40 at most, and has 41",
        ),
        (f"{JOB}source_identity = 'ref'", "job 1: source_identity: must be off or actor or run_id"),
        (f"{JOB}policy = 'x'", "job 1: policy: must be JSON"),
        (f"{JOB}policy = 1", "job 1: policy: must be a policy: JSON as text, or a table"),
        (f"{JOB}policy = '{LONG}'", "job 1: policy: must be 2048 characters at most, and is 2"),
        (f"{JOB}container_roles = 'x'", "job 1: container_roles: 'x' must be the ARN of an IAM"),
        (
            "[[job]]\nrole = 'none'\nrequired = true",
            'job 1: required: contradicts role = "none"',
        ),
        (
            f"[[job]]\nrole = 'none'\npolicy = '{SHORT}'",
            'job 1: policy: says how a role is assumed, and role is "none"',
        ),
        (f"{JOB}name = 'default'", "job 'default': name: must be 1 to 64 letters"),
        (
            f"{JOB}name = 'a'\n{JOB}name = 'a'",
            "job 'a': name: is used twice among [[job]]: a",
        ),
        (f"{JOB}roles = 'x'", "job 1: roles: is no key here; did you mean role?"),
        (f"{JOB}[[container]]\nimage = 'a'", "container 1: role: is required: none, job, or the"),
        (f"{JOB}[[container]]\nrole = 'none'", "container 1: image: is required, or label, or"),
        (
            f"{JOB}[[container]]\nimage = 'a'\nrole = '{OTHER}'",
            "container 1: role: is in container_roles of no [[job]], so no job may give it",
        ),
        (
            (
                f"{JOB}policy = '{SHORT}'\n[[container]]\n"
                f"image = 'a'\nrole = 'job'\npolicy = '{SHORT}'"
            ),
            "container 1: policy: contradicts the policy of job-1: several session policies",
        ),
        (
            f"{JOB}[[container]]\nimage = 'a'\nrole = 'none'\npolicy = '{SHORT}'",
            'container 1: policy: needs role = "job": it limits the role of the job',
        ),
        (f"{JOB}[[container]]\nlabel = '*=a'\nrole = 'none'", "container 1: label: '*=a' must be"),
        (f"{JOB}[[container]]\nservice = ''\nrole = 'none'", "container 1: service: '' must be 1"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_place(text, line):
    """The table, the key and what is wrong."""
    with pytest.raises(RolesError) as wrong:
        parse_roles(text)
    (found,) = wrong.value.lines
    assert found.startswith(line)


def test_all_mistakes_are_reported_at_once():
    """In the order of the document, each once."""
    with pytest.raises(RolesError) as wrong:
        parse_roles(f"[default]\nrole = 'x'\n{JOB}ref = 'a'\nevent = '*'\n{JOB}reff = 'a'")
    assert [line.partition(" must")[0] for line in wrong.value.lines] == [
        "[default]: role:",
        "job 1: ref: 'a'",
        "job 1: event: '*'",
        "job 2: reff: is no key here; did you mean ref?",
    ]
    assert str(wrong.value).count("; ") >= 3


def test_the_size_is_limited(monkeypatch):
    """Both of the text and of what it makes."""
    with pytest.raises(RolesError, match="has 262145 bytes, and 262144 is the limit"):
        parse_roles("#" * (document.LONGEST_DOCUMENT + 1))
    monkeypatch.setattr(document, "MOST_RULES", 1)
    with pytest.raises(RolesError, match="has 2 rules, and 1 is the limit"):
        parse_roles(JOB + JOB)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("refs/heads/main", True),
        ("bücher/日本", True),
        ("a b", True),
        ("", True),
        (" a", False),
        ("a ", False),
        ("a\u00a0b", False),
        ("a\tb", False),
        ("a#b", False),
        ("a,b", False),
        ("dependabot[bot]", False),
        (unicodedata.normalize("NFD", "bücher"), False),
        ("\U0001f680", False),
        ("a\x00b", False),
    ],
)
def test_only_what_sts_takes_unchanged_is_tag_text(text, taken):
    """STS's pattern for tags, of the spaces only the usual one."""
    assert is_tag_text(text) is taken


def test_no_policy_is_shown():
    """Its repr leaves it out, so that no traceback holds it."""
    assert "Statement" not in repr(parse_roles(f"{JOB}policy = '{SHORT}'"))
