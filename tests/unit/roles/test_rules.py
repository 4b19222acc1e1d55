"""The rules for roles: which one matches a job, and which one a container."""

import time
from dataclasses import dataclass, replace

import pytest

from sidecar.roles.containers import SERVICE_LABEL, Container, find_rule
from sidecar.roles.document import parse_roles
from sidecar.roles.rules import TASK, Conditions, Match

A, B = (f"arn:aws:iam::123456789012:role/{name}" for name in "ab")


@dataclass(frozen=True)
class Facts:
    """A job as the rules see it."""

    repository: str | None = "octo-org/App"
    repository_id: str | None = "42"
    ref: str | None = "refs/heads/main"
    ref_protected: bool | None = True
    workflow_file: str | None = "octo-org/App/.github/workflows/deploy.yml"
    event: str | None = "push"
    environment: str | None = None
    actor: str | None = "mona"
    from_fork: bool | None = False


JOB = Facts()
FORK = replace(JOB, event="pull_request", ref="refs/pull/7/merge", from_fork=True)


def find(rules: str, job: Facts = JOB) -> str | None:
    """Return the role that these rules give."""
    match = parse_roles(rules).find(job)
    return match.terms.role if match else None


def rule(keys: str, role: str = A) -> str:
    """Return one rule for jobs."""
    return f'[[job]]\nrole = "{role}"\n{keys}\n'


@pytest.mark.parametrize(
    ("keys", "changed", "matches"),
    [
        ("", {}, True),
        ('repository = "octo-org/app"', {}, True),
        ('repository = "octo-org/app"', {"repository": "OCTO-ORG/APP"}, True),
        ('repository = "octo-org/*"', {}, True),
        ('repository = "octo-org/ap"', {}, False),
        ('repository = ["x/y", "octo-org/app"]', {}, True),
        ('repository = "octo-org/app"', {"repository": "octo-org/app2"}, False),
        ('repository = "octo-org/app"', {"repository": None}, False),
        ("repository_id = 42", {}, True),
        ('repository_id = ["41", 42]', {}, True),
        ("repository_id = 42", {"repository": "renamed/app"}, True),
        ("repository_id = 42", {"repository_id": "421"}, False),
        ("repository_id = 42", {"repository_id": None}, False),
        ('ref = "refs/heads/main"', {}, True),
        ('ref = "refs/heads/main"', {"ref": "refs/heads/Main"}, False),
        ('ref = "refs/heads/main"', {"ref": "refs/tags/main"}, False),
        ('ref = "refs/heads/main"', {"ref": "refs/heads/main\n"}, False),
        ('ref = "refs/heads/*"', {"ref": "refs/heads/a/b"}, False),
        ('ref = "refs/heads/**"', {"ref": "refs/heads/a/b"}, True),
        ('ref = "refs/heads/**"', {"ref": "refs/heads/bücher"}, True),
        ('ref = "refs/heads/**"', {"ref": "refs/heads/" + "x" * 300}, False),
        ('ref = "refs/heads/main"', {"ref": None}, False),
        ("ref_protected = true", {}, True),
        ("ref_protected = true", {"ref_protected": False}, False),
        ("ref_protected = true", {"ref_protected": None}, False),
        ("ref_protected = false", {}, False),
        ("ref_protected = false", {"ref_protected": None}, False),
        ('workflow = ".github/workflows/Deploy.yml"', {}, True),
        ('workflow = "octo-org/app/.github/workflows/deploy.yml"', {}, True),
        ('workflow = ".github/workflows/*.yml"', {}, True),
        ('workflow = ".github/workflows/ci.yml"', {}, False),
        ('workflow = ".github/workflows/deploy.yml"', {"workflow_file": None}, False),
        (
            'workflow = ".github/workflows/deploy.yml"',
            {"workflow_file": "evil/app/.github/workflows/deploy.yml"},
            False,
        ),
        ('actor = "Mona"', {}, True),
        ('actor = "dependabot[bot]"', {"actor": "dependabot[bot]"}, True),
        ('actor = "hubot"', {}, False),
        ('actor = "mona"', {"actor": None}, False),
        ('proof = "oidc"\nenvironment = "prod"', {"environment": "prod"}, True),
        ('proof = "oidc"\nenvironment = "prod"', {"environment": "Prod"}, False),
        ('proof = "oidc"\nenvironment = "prod"', {}, False),
    ],
)
def test_a_rule_matches_by_each_of_its_keys(keys, changed, matches):
    """Repository and workflow without case, refs exactly; what is not known never matches."""
    assert (find(rule(keys), replace(JOB, **changed)) == A) is matches


@pytest.mark.parametrize(
    "event",
    ["push", "workflow_dispatch", "schedule", "release", "merge_group", "repository_dispatch"],
)
def test_a_rule_without_events_is_for_those_that_a_writer_causes(event):
    """The list is the promise."""
    assert find(rule(""), replace(JOB, event=event)) == A


@pytest.mark.parametrize(
    "event", ["pull_request_target", "workflow_run", "issue_comment", "pull_request", "x", None]
)
def test_other_events_must_be_named(event):
    """They run with the default branch's ref on a stranger's word; the default has none either."""
    job = replace(JOB, event=event)
    assert find(rule(""), job) is None
    assert find(f'[default]\nrole = "{A}"', job) is None
    if event is not None:
        assert find(rule(f'event = "{event}"'), job) == A


@pytest.mark.parametrize("event", ["pull_request", "pull_request_target"])
def test_a_fork_gets_only_what_names_forks(event):
    """And such a rule is for nobody else; where the commit comes from must be known."""
    fork, own = replace(FORK, event=event), replace(FORK, event=event, from_fork=False)
    unknown = replace(fork, from_fork=None)
    named = f'event = "{event}"\n'
    for job, without, with_fork in ((fork, None, A), (own, A, None), (unknown, None, None)):
        assert find(rule(named), job) == without
        assert find(rule(f"{named}fork = true"), job) == with_fork
        assert find(f'[default]\nrole = "{TASK}"', job) is None


def test_the_first_rule_that_matches_wins():
    """Also one that gives nothing: later rules and the default are not asked."""
    main = rule('ref = "refs/heads/main"', "none")
    rules = f'[default]\nrole = "task"\n{main}{rule("", B)}'
    assert find(rules) == "none"
    assert find(rules, replace(JOB, ref="refs/heads/dev")) == B
    match = parse_roles('[default]\nrole = "task"').find(JOB)
    assert match == Match(match.terms)
    assert (match.name, match.required, match.terms.role) == ("default", False, TASK)


def test_nothing_is_found_without_a_default():
    """Such a job has no credentials."""
    assert find(rule('repository = "other/app"')) is None


def test_a_mismatch_names_the_key_and_the_value():
    """`roles --explain` and the job's log show it; no line of the job's can forge another."""
    assert Conditions(ref=("refs/heads/x",)).mismatch(JOB) == "ref is refs/heads/main"
    assert Conditions().mismatch(replace(JOB, event="a\nb")) == "event is a?b"
    assert Conditions(ref_protected=False).mismatch(JOB) == "ref_protected is true"
    assert Conditions().mismatch(FORK) == "event is pull_request"
    assert Conditions().mismatch(replace(JOB, repository=None)) == "repository is not known"


@pytest.mark.parametrize("pattern", ["refs/**a**b", "refs/*a*b"])
def test_no_ref_makes_a_comparison_slow(pattern):
    """Whoever may push chooses the ref."""
    rules = parse_roles(rule(f'ref = "{pattern}"'))
    began = time.perf_counter()
    for _ in range(100):
        assert rules.find(replace(JOB, ref="refs/" + "a" * 249)) is None
    assert time.perf_counter() - began < 2


CONTAINERS = f"""
[[job]]
role = "{A}"
container_roles = "{B}"
[[container]]
image = ["redis:*", "*.example/tools/**"]
role = "none"
[[container]]
label = "role=db*"
role = "{B}"
[[container]]
service = "web"
label = "tier"
role = "job"
policy = '{{"Statement": []}}'
"""


@pytest.mark.parametrize(
    ("image", "labels", "name"),
    [
        ("redis:7", {}, "container-1"),
        ("redis", {}, None),
        ("library/redis:7", {}, None),
        ("ecr.example/tools/a/b:1", {}, "container-1"),
        ("app", {"role": "db1"}, "container-2"),
        ("app", {"role": "x-db1"}, None),
        ("redis:7", {"role": "db1"}, "container-1"),
        (None, {SERVICE_LABEL: "web", "tier": "1"}, "container-3"),
        (None, {SERVICE_LABEL: "web"}, None),
        (None, {SERVICE_LABEL: "web2", "tier": ""}, None),
        (None, {}, None),
    ],
)
def test_a_container_has_the_first_rule_that_matches(image, labels, name):
    """By image, label and compose service; every key that is there must match."""
    found = find_rule(parse_roles(CONTAINERS).containers, Container(image, labels))
    assert (found and found.name) == name
