"""`runner-sidecar roles`: which rule a job has, and the policies that the rules need."""

import json

import pytest

from sidecar.cli.roles import main

DEPLOY, BUILD = (f"arn:aws:iam::123456789012:role/{name}" for name in ("deploy", "build"))
TASK = "arn:aws:iam::123456789012:role/task"
RULES = f"""
[[job]]
name = "deploy"
repository = "octo-org/app"
ref = "refs/heads/main"
workflow = ".github/workflows/deploy.yml"
role = "{DEPLOY}"

[[job]]
name = "build"
repository = "octo-org/*"
event = ["push", "pull_request"]
role = "{BUILD}"
"""
JOB = ("--repository", "octo-org/app", "--event", "push", "--ref", "refs/heads/main")
DEPLOYING = (*JOB, "--workflow", "octo-org/app/.github/workflows/deploy.yml")


def call(capsys, *arguments, rules=RULES):
    """Call the command; return its exit code and both outputs."""
    code = main(arguments, {"SIDECAR_ROLES": rules} if rules is not None else {})
    return code, *capsys.readouterr()


def test_a_job_is_explained_by_its_flags(capsys):
    """Each rule up to the one that matches, with the first key that does not."""
    assert call(capsys, "--explain", *DEPLOYING) == (
        0,
        f"deploy: matches\n=> {DEPLOY}, by deploy, proof runner\n",
        "",
    )
    assert call(capsys, *JOB) == (
        0,
        f"deploy: no: workflow is not known\nbuild: matches\n=> {BUILD}, by build, proof runner\n",
        "",
    )
    code, output, _ = call(capsys, *JOB, "--fork")
    assert (code, output.splitlines()) == (
        1,
        [
            "deploy: no: fork is true",
            "build: no: fork is true",
            "=> no role: the job has no credentials of AWS",
        ],
    )


@pytest.mark.parametrize(
    ("head", "code"), [({"id": 7}, 0), ({"id": 8}, 1), (None, 1)], ids=["own", "fork", "deleted"]
)
def test_a_job_is_explained_by_its_payload(capsys, tmp_path, head, code):
    """As GitHub sends it for a pull request; null is a fork."""
    payload = tmp_path / "event.json"
    event = {
        "repository": {"id": 7, "full_name": "octo-org/app"},
        "pull_request": {"number": 3, "head": {"repo": head}},
        "sender": {"login": "mona"},
    }
    payload.write_text(json.dumps(event))
    found, output, _ = call(capsys, "--event-file", str(payload))
    assert found == code
    assert ("build: matches" in output) is (code == 0)


def test_trust_policies_compare_the_session_s_tags(capsys):
    """What the proof proves is said first; the task role may assume these roles and no more."""
    code, output, errors = call(capsys, "--trust-policy", "--task-role", TASK)
    assert code == 0
    assert errors.startswith('With proof = "runner" AWS believes the task role')
    policies = json.loads(output)
    (statement,) = policies["roles"][DEPLOY]["Statement"]
    assert statement == {
        "Sid": "deploy",
        "Effect": "Allow",
        "Principal": {"AWS": TASK},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Condition": {
            "StringEquals": {
                "aws:RequestTag/repository": "octo-org/app",
                "aws:RequestTag/ref": "refs/heads/main",
                "aws:RequestTag/workflow": "octo-org/app/.github/workflows/deploy.yml",
                "aws:RequestTag/event": [
                    "push",
                    "workflow_dispatch",
                    "schedule",
                    "release",
                    "merge_group",
                    "repository_dispatch",
                ],
            }
        },
    }
    (build,) = policies["roles"][BUILD]["Statement"]
    assert build["Condition"]["StringLike"] == {"aws:RequestTag/repository": "octo-org/*"}
    assert policies["task_role"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Resource": [BUILD, DEPLOY],
        }
    ]


BY_TOKEN = f"""
[[job]]
name = "production"
repository = "octo-org/app"
repository_id = 42
environment = "production"
ref = "refs/heads/release/*"
role = "{DEPLOY}"
proof = "oidc"
"""


def test_trust_policies_by_token_compare_its_claims(capsys):
    """The task role may then assume nothing; what AWS cannot compare is said."""
    code, output, errors = call(capsys, "--trust-policy", rules=BY_TOKEN)
    assert code == 0
    assert "believes the task role" not in errors
    assert "production: the agent alone compares event" in errors
    assert "production: in ref, a '*' of IAM's crosses '/'" in errors
    policies = json.loads(output)
    assert policies["task_role"] is None
    (statement,) = policies["roles"][DEPLOY]["Statement"]
    provider = "token.actions.githubusercontent.com"
    assert statement["Principal"]["Federated"].endswith(f":123456789012:oidc-provider/{provider}")
    assert statement["Action"] == ["sts:AssumeRoleWithWebIdentity"]
    assert statement["Condition"] == {
        "StringEquals": {
            f"{provider}:aud": "sts.amazonaws.com",
            f"{provider}:repository": "octo-org/app",
            f"{provider}:repository_id": "42",
            f"{provider}:environment": "production",
        },
        "StringLike": {
            f"{provider}:sub": ["repo:octo-org/app:*", "repo:octo-org@*/app@*:*"],
            f"{provider}:ref": "refs/heads/release/*",
        },
    }


def test_roles_of_containers_and_the_default_are_trusted_as_well(capsys):
    """By the same tags as the job's own; two rules of one role are two statements."""
    other = DEPLOY.replace("deploy", "other")
    rules = (
        f'[default]\nrole = "{BUILD}"\nsource_identity = "actor"\n'
        f'[[job]]\nrepository = "o/a"\nrole = "{DEPLOY}"\ncontainer_roles = "{other}"\n'
        f'[[job]]\nname = "job1"\nrepository = "o/b"\nrole = "{DEPLOY}"\ntags = {{ team = "x" }}\n'
    )
    _, output, _ = call(capsys, "--trust-policy", "--task-role", TASK, rules=rules)
    found = json.loads(output)["roles"]
    assert found.keys() == {DEPLOY, other, BUILD}
    assert [one["Sid"] for one in found[DEPLOY]["Statement"]] == ["job1", "job12"]
    team = found[DEPLOY]["Statement"][1]["Condition"]["StringEquals"]["aws:RequestTag/team"]
    assert team == "x"
    assert "sts:SetSourceIdentity" in found[BUILD]["Statement"][0]["Action"]


@pytest.mark.parametrize(
    ("rules", "arguments", "line"),
    [
        (None, (), "cannot read it: neither --file nor SIDECAR_ROLES is set"),
        ("ssm:/a", (), "cannot read it: SIDECAR_ROLES is in SSM"),
        (RULES, ("--trust-policy",), "--task-role is missing"),
        (RULES, ("--file", "/nowhere"), "cannot read it: [Errno 2]"),
        ("[[job]]\nrole = 'x'", (), "SIDECAR_ROLES: job 1: role: must be the ARN"),
        (RULES, ("--nothing",), "usage: runner-sidecar roles"),
    ],
)
def test_each_mistake_is_said(capsys, rules, arguments, line):
    """With exit code 11, and nothing on standard output."""
    code, output, errors = call(capsys, *arguments, rules=rules)
    assert (code, output) == (11, "")
    assert errors.startswith(line)
