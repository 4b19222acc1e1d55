"""Which jobs a policy admits; what is not known of a job is never admitted."""

import json
import time
from pathlib import Path

import pytest

from sidecar.runner.job_identity import JobIdentity
from sidecar.runner.job_policy import JobPolicy, parse_policy

CASES = json.loads((Path(__file__).parents[1] / "policy_cases.json").read_text())
"""The launcher's own comparison answers them too (tests/unit/launcher/pools/test_access.py)."""


@pytest.mark.parametrize("case", CASES)
def test_agent_and_launcher_decide_alike(case):
    """A job that the launcher starts a task for must not be refused in it, nor the other way."""
    refusal = parse_policy(case["policy"]).refusal(JobIdentity(**case["job"]))
    assert (refusal is None) is case["admitted"], refusal


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"workflows": ["a"]}, "holds 'workflows', which this version of the agent does not know"),
        ({"Forks": True}, "holds 'Forks', which"),
        ({"forks": 1}, 'has "forks" that is neither true nor false'),
        ({"forks": None}, 'has "forks" that is neither true nor false'),
        ({"owners": "acme"}, 'has "owners" that is no list of 1 to 200 texts'),
        ({"owners": []}, 'has "owners" that is no list of 1 to 200 texts'),
        ({"events": None}, 'has "events" that is no list'),
        ({"refs": ["r"] * 201}, 'has "refs" that is no list'),
        ({"refs": [3]}, 'has an item in "refs" that is no text of 1 to 255 characters'),
        ({"refs": [""]}, 'has an item in "refs" that is no text'),
        ({"refs": ["r" * 256]}, 'has an item in "refs" that is no text'),
        ({"refs": ["refs/a\n"]}, 'has an item in "refs" that is no text'),
        ({"refs": ["a*b*c*d"]}, 'has too many "*" in an item of "refs"'),
        ({"refs": ["a***"]}, 'has too many "*" in an item of "refs"'),
        ({"repositories": ["acme/**"]}, 'has too many "*" in an item of "repositories"'),
        ({"owners": ["*"]}, 'has too many "*" in an item of "owners"'),
        ({"events": ["*"]}, 'has too many "*" in an item of "events"'),
    ],
)
def test_a_policy_that_is_not_understood_is_an_error(policy, why):
    """It is never read as a wider one; a newer launcher's key is not ignored."""
    with pytest.raises(ValueError, match=r"^(holds|has) ") as wrong:
        parse_policy(policy)
    assert str(wrong.value).startswith(why)


@pytest.mark.parametrize("policy", [JobPolicy(), JobPolicy(forks=True), JobPolicy(events=("x",))])
def test_a_job_of_which_nothing_is_known_is_refused(policy):
    """Whatever the policy says: not even the repository is known."""
    assert policy.refusal(JobIdentity()) is not None


def test_a_refusal_names_what_is_missing():
    """Who reads the job's log sees what to change in the pool, or where the job came from."""
    job = JobIdentity(repository="acme/app", event="push", ref="refs/heads/x")
    unknown = JobIdentity(repository="acme/app", head_unknown="its event cannot be read: x")
    assert parse_policy({"owners": ["o"]}).refusal(job) == (
        "acme/app is none of the pool's repositories and owners"
    )
    assert parse_policy({"forks": False}).refusal(unknown) == (
        "its event cannot be read: x, and the pool admits no forks"
    )
    assert parse_policy({"forks": True, "refs": ["refs/heads/main"]}).refusal(job) == (
        "the ref refs/heads/x is none of the pool's refs"
    )


@pytest.mark.alone
def test_a_long_ref_is_refused_quickly():
    """A stranger's ref must not make the comparison slow."""
    policy = parse_policy({"forks": True, "refs": ["refs/heads/*a*b"]})
    begun = time.perf_counter()
    for length in (1_000_000, 240):
        ref = "refs/heads/" + "a" * length
        assert policy.refusal(JobIdentity(repository="acme/app", event="push", ref=ref))
    assert time.perf_counter() - begun < 1
