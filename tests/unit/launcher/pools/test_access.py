"""Who may use a pool; what is not known is never admitted."""

import json
import time
from pathlib import Path

import pytest

from launcher.pools.access import Access, Requester, read_access
from sidecar.documents.tables import Mistakes, Table

RUN = {
    "event": "push",
    "head_branch": "main",
    "head_repository": {"full_name": "acme/app"},
    "pull_requests": [],
}


def run(**keys):
    """Return who asks, from GitHub's answer about a run."""
    return Requester.from_run("acme/app", {**RUN, **keys})


def fork(event="pull_request"):
    """Return a stranger whose branch is called as ours."""
    return run(event=event, head_repository={"full_name": "mallory/app"})


def test_an_empty_policy_admits_every_repository_but_no_fork():
    """Forks have to be asked for."""
    assert Access().refusal(run()) is None
    assert "comes from mallory/app" in Access().refusal(fork())
    assert Access(forks=True).refusal(fork()) is None


@pytest.mark.parametrize(
    ("access", "admitted"),
    [
        (Access(repositories=("Acme/App",)), True),
        (Access(repositories=("acme/*",)), True),
        (Access(repositories=("acme/ap",)), False),
        (Access(repositories=("acme/*x",)), False),
        (Access(owners=("ACME",)), True),
        (Access(owners=("acm",)), False),
        (Access(owners=("other",), repositories=("acme/app",)), True),
        (Access(events=("push",)), True),
        (Access(events=("schedule",)), False),
        (Access(refs=("refs/heads/main",)), True),
        (Access(refs=("refs/heads/*",)), True),
        (Access(refs=("refs/tags/main",)), True),  # a run does not tell; the hook does
        (Access(refs=("refs/heads/Main",)), False),
        (Access(refs=("refs/**",)), True),
    ],
)
def test_each_part_of_a_policy_is_compared(access, admitted):
    """Names of owners and repositories have no case; refs have."""
    assert (access.refusal(run()) is None) is admitted


def test_a_star_does_not_go_over_a_slash():
    """Two stars do."""
    who = run(head_branch="team/main")
    assert Access(refs=("refs/heads/*",)).refusal(who)
    assert Access(refs=("refs/heads/**",)).refusal(who) is None


def test_a_fork_s_branch_called_main_is_not_main():
    """A pull request's ref is its merge, wherever its head stands."""
    policy = Access(refs=("refs/heads/main",), forks=True)
    for event in ("pull_request", "pull_request_target", "workflow_run", "issue_comment", "new"):
        assert policy.refusal(fork(event)), event
    assert Access(refs=("refs/pull/*/merge",), forks=True).refusal(fork()) is None


@pytest.mark.parametrize(
    "access", [Access(), Access(events=("push",)), Access(refs=("refs/heads/main",))]
)
@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"event": None, "head_repository": None, "head_branch": None},
        {"event": 3, "head_repository": [], "head_branch": 3, "pull_requests": 3},
        {"event": "pull_request", "pull_requests": [3, {}]},
    ],
)
def test_what_is_not_known_is_not_admitted(access, answer):
    """A failed look at the run, a fork that was deleted, an answer of another shape."""
    assert access.refusal(Requester.from_run("acme/app", answer))
    assert access.refusal(Requester("acme/app"))


def test_a_policy_says_whether_the_run_must_be_asked_for():
    """It costs a call of GitHub's for each run."""
    assert Access().needs_run
    assert not Access(forks=True, owners=("acme",)).needs_run
    assert Access(forks=True, events=("push",)).needs_run


def test_the_agent_gets_the_same_policy():
    """As plain values, without what is empty."""
    access = Access(owners=("acme",), events=("push",))
    assert access.to_policy() == {"owners": ["acme"], "events": ["push"], "forks": False}


CASES = json.loads((Path(__file__).parents[2] / "policy_cases.json").read_text())
"""The agent's own comparison answers them too (tests/unit/runner/test_job_policy.py)."""


@pytest.mark.parametrize("case", CASES)
def test_launcher_and_agent_decide_alike(case):
    """A job that the launcher starts a task for must not be refused in it, nor the other way."""
    mistakes = Mistakes()
    access = read_access(Table(case["policy"], mistakes, ""))
    assert not mistakes.lines()
    who = dict(case["job"])
    ref = who.pop("ref")
    refusal = access.refusal(Requester(**who, refs=() if ref is None else (ref,)))
    assert (refusal is None) is case["admitted"], refusal
    assert access.to_policy() == {**case["policy"], "forks": case["policy"].get("forks", False)}


@pytest.mark.alone
def test_a_long_ref_is_refused_quickly():
    """A stranger's ref must not make the comparison slow."""
    access = Access(refs=("refs/heads/*a*b",), forks=True)
    begun = time.perf_counter()
    assert access.refusal(run(head_branch="a" * 1_000_000))
    assert access.refusal(run(head_branch="a" * 240))
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"repositories": ["acme"]}, "repositories: 'acme' must be owner/name"),
        ({"repositories": ["*/app"]}, "repositories: '*/app' must be owner/name"),
        ({"repositories": ["a/**"]}, "repositories: 'a/**' must have single '*'"),
        ({"repositories": ["a/*b*c*"]}, "repositories: 'a/*b*c*' must have 2 '*' at most"),
        ({"owners": ["a/b"]}, "owners: 'a/b' must be the name"),
        ({"events": ["Push"]}, "events: 'Push' must be an event's name"),
        ({"refs": ["main"]}, "refs: 'main' must be a whole ref"),
        ({"refs": ["refs/a*b*c*d"]}, "refs: 'refs/a*b*c*d' must have 2 '*' at most"),
        (
            {"refs": [f"refs/heads/{n:0200}" for n in range(15)]},
            "repositories, owners, events, refs: must have 3000 bytes at most as JSON",
        ),
        ({"forks": 1}, "forks: must be true or false"),
        ({"event": ["push"]}, "event: is no key here; did you mean events?"),
    ],
)
def test_each_mistake_has_its_line(keys, line):
    """A wrong policy is reported, never read as a wider one."""
    mistakes = Mistakes()
    read_access(Table(keys, mistakes, ""))
    (found,) = mistakes.lines()
    assert found.startswith(line)
