"""A job is admitted by the policy that came with the token, or by nobody."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.errors import Exit, TokenError
from sidecar.lifecycle.job_admission import make_admission
from sidecar.phase import Phase
from sidecar.runner import admission
from sidecar.runner.admission import Assignment
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.listener import Listener
from sidecar.tokens.value import RegistrationToken

PUSH = {"GITHUB_REPOSITORY": "acme/app", "GITHUB_EVENT_NAME": "push"}


class Credentials:
    """The credentials of jobs, as far as an admission needs them."""

    def __init__(self):
        self.calls = []

    def hold(self):
        """Note it."""
        self.calls.append("hold")

    def release(self):
        """Note it."""
        self.calls.append("release")


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Wait for the disk, however busy the machine is."""
    monkeypatch.setattr(admission, "READ_TIMEOUT", 60.0)
    monkeypatch.setattr(admission, "ANSWER_TIMEOUT", 60.0)


def decide(tmp_path, policy, variables):
    """Decide about one job; return the answer, what the parts were told, and the log."""
    credentials, listener = Credentials(), Listener(Phase())
    folder = RunnerFolder(tmp_path, None)

    async def life():
        made = make_admission(RegistrationToken("T", policy=policy), folder, listener, credentials)
        return await made.decide(variables)

    with capture_logs() as logs:
        answer = asyncio.run(life())
    return answer, credentials.calls, listener, logs


def test_without_a_policy_there_is_no_admission(tmp_path):
    """Who starts tasks without one sees no change: nothing is held back."""
    credentials = Credentials()
    token = RegistrationToken("T")
    assert make_admission(token, RunnerFolder(tmp_path, None), None, credentials) is None
    assert credentials.calls == []


def test_an_admitted_job_is_served(tmp_path):
    """Its role is held back until then; the log says who it is."""
    answer, calls, listener, logs = decide(tmp_path, {"owners": ["acme"]}, PUSH)
    assert (answer, calls, listener.refused) == (host.ADMITTED, ["hold", "release"], None)
    (event,) = logs
    assert event == {
        "event": "job.admitted",
        "log_level": "info",
        "repository": "acme/app",
        "event_name": "push",
        "head_repository": "acme/app",
    }


@pytest.mark.parametrize(
    ("policy", "variables", "why"),
    [
        ({"owners": ["other"]}, PUSH, "acme/app is none of the pool's repositories and owners"),
        ({"forks": True}, {}, "(not known) is none of the pool's repositories and owners"),
        ({"forks": True}, None, "what the runner says about the job is too long"),
        (
            {"owners": ["o"]},
            {"GITHUB_REPOSITORY": "e%0A::set-env\n::x"},
            "e%0A::set-env?::x is none of the pool's repositories and owners",
        ),
    ],
)
def test_a_refused_job_is_served_nothing(tmp_path, policy, variables, why):
    """The answer says why, in one line without commands; the listener knows that it has to end."""
    answer, calls, listener, logs = decide(tmp_path, policy, variables)
    assert answer == f"this runner may not run the job: {why.replace('%', '%25')}"
    assert (calls, listener.refused is not None) == (["hold"], True)
    (event,) = logs
    assert (event["event"], event["reason"]) == ("job.refused", why)


@pytest.mark.parametrize("mistake", [RuntimeError, OSError])
def test_a_mistake_admits_nobody(tmp_path, monkeypatch, mistake):
    """Whatever goes wrong while a job is judged."""

    def read_identity(*_):
        raise mistake

    monkeypatch.setattr(admission, "read_identity", read_identity)
    answer, calls, _, logs = decide(tmp_path, {"forks": True}, PUSH)
    assert answer == "this runner may not run the job: a mistake in the agent"
    assert (calls, logs[0]["event"]) == (["hold"], "job.refused")


def test_a_disk_that_does_not_answer_admits_nobody(tmp_path, monkeypatch):
    """The hook waits longer than the agent does."""
    monkeypatch.setattr(admission, "READ_TIMEOUT", 0.0)
    answer = decide(tmp_path, {"forks": True}, PUSH)[0]
    assert answer == "this runner may not run the job: its event could not be read within 0 s"


@pytest.mark.parametrize(
    ("policy", "why"),
    [({"workflows": ["x"]}, "it holds 'workflows', which"), ({"forks": "no"}, 'it has "forks"')],
)
def test_a_policy_that_is_not_understood_ends_the_life(tmp_path, policy, why):
    """Before anything is registered; the error is about the token."""
    with pytest.raises(TokenError) as wrong:
        decide(tmp_path, policy, PUSH)
    assert str(wrong.value).startswith(f'cannot use the "policy" that came with the token: {why}')
    assert wrong.value.exit is Exit.TOKEN


class Roles:
    """The rules for roles, which answer as they are told."""

    names = ("A",)

    def __init__(self, answer, *, required=False):
        self.roles = self
        self.any_required = required
        self.answer = answer
        self.asked = []

    async def assign(self, identity, variables, deadline):
        """Note who asks."""
        left = deadline - asyncio.get_running_loop().time()
        self.asked.append((identity.repository if identity else None, dict(variables)))
        assert 0 < left <= admission.ANSWER_TIMEOUT
        return self.answer


def assign(tmp_path, roles, variables=PUSH, policy=None):
    """Decide about one job by rules for roles; return what `decide` does."""
    credentials, listener = Credentials(), Listener(Phase())
    folder, token = RunnerFolder(tmp_path, None), RegistrationToken("T", policy=policy)

    async def life():
        made = make_admission(token, folder, listener, credentials, roles)
        assert made.names == roles.names
        assert made.needs_answer is (roles.any_required or policy is not None)
        return await made.decide(variables)

    with capture_logs() as logs:
        answer = asyncio.run(life())
    return answer, credentials.calls, listener, logs


@pytest.mark.parametrize(
    ("assignment", "answer"),
    [
        (Assignment(), host.ADMITTED),
        (Assignment(notice="no rule\nfor 100%"), f"{host.NOTICE}no rule?for 100%25"),
    ],
)
def test_a_job_goes_on_when_its_role_is_decided(tmp_path, assignment, answer):
    """Nothing is served before; a notice is one line without commands."""
    roles = Roles(assignment)
    found = assign(tmp_path, roles)
    assert found[:2] == (answer, ["hold", "release"])
    assert roles.asked == [("acme/app", PUSH)]
    assert found[3][0]["event"] == "job.admitted"


def test_a_job_without_its_required_role_is_refused(tmp_path):
    """As one that the policy does not admit: the listener has to end."""
    answer, calls, listener, logs = assign(
        tmp_path, Roles(Assignment(refusal="its role is required: x"), required=True)
    )
    assert answer == "this runner may not run the job: its role is required: x"
    assert (calls, listener.refused is not None) == (["hold"], True)
    assert logs[0]["event"] == "job.refused"


def test_a_job_that_the_policy_refuses_gets_no_role(tmp_path):
    """The rules are not asked."""
    roles = Roles(Assignment())
    answer, calls, _, _ = assign(tmp_path, roles, policy={"owners": ["other"]})
    assert answer.startswith("this runner may not run the job: ")
    assert (calls, roles.asked) == (["hold"], [])


def test_a_job_of_which_nothing_is_known_is_told_so_to_the_rules(tmp_path):
    """Without a policy it is not refused for that."""
    roles = Roles(Assignment(notice="unknown"))
    answer, _, _, _ = assign(tmp_path, roles, variables=None)
    assert answer == f"{host.NOTICE}unknown"
    assert roles.asked == [(None, {})]
