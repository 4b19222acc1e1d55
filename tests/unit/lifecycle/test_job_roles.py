"""The role of the runner's one job: found by the rules, served by the relay, or denied."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from local import oidc, sts
from sidecar.aws import secrets
from sidecar.aws.secrets import SecretReader
from sidecar.errors import Exit, RelayError, SettingsError, TokenError
from sidecar.lifecycle import job_roles
from sidecar.lifecycle.job_credentials import JobCredentials
from sidecar.lifecycle.job_roles import JobRoles, read_rules
from sidecar.relay.assigned_role import AssignedRole
from sidecar.roles.document import parse_roles
from sidecar.roles.rules import Proof, Roles
from sidecar.runner.job_identity import SENT, JobIdentity
from sidecar.settings.given_roles import RolesParameters

A, B = (f"arn:aws:iam::123456789012:role/{name}" for name in "ab")
JOB = JobIdentity(
    repository="octo/app",
    repository_id="7",
    event="push",
    ref="refs/heads/main",
    actor="mona",
    run_id="5",
    run_attempt="1",
    workflow_ref="octo/app/.github/workflows/ci.yml@refs/heads/main",
    head_repository="octo/app",
    from_fork=False,
)
OIDC = f"""
[[job]]
name = "production"
environment = "production"
role = "{A}"
proof = "oidc"
duration = "2h"
[[job]]
name = "others"
role = "{B}"
"""


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Wait for GitHub's token, however busy the machine is."""
    monkeypatch.setattr(job_roles, "TOKEN_TIMEOUT", 60.0)


class Relay:
    """A relay that has credentials, or says why not."""

    def __init__(self, failure=None):
        self.failure = failure
        self.identities = self
        self.holds = []

    async def wait_until_fetched(self, timeout):
        """Wait."""
        self.timeout = timeout
        if self.failure is not None:
            raise RelayError(self.failure)

    def hold(self, reason):
        """Note it."""
        self.holds.append(reason)

    def release(self):
        """Note it."""
        self.holds.append(None)

    def set_job(self, job, rule):
        """Note it."""
        self.job = job, rule


def assign(rules, identity=JOB, variables=None, *, failure=None, relay=True, endpoint=None):
    """Assign a role; return what came of it, what was assigned, and the log."""
    served = Relay(failure) if relay else None
    credentials = JobCredentials(relay=served, assigned=AssignedRole())
    access = SimpleNamespace(endpoint=endpoint, agent_credentials=None)
    roles = JobRoles(parse_roles(rules), access, credentials, "eu-central-1", "task-1")

    async def work():
        deadline = asyncio.get_running_loop().time() + 60
        result = await roles.assign(identity, variables or {}, deadline)
        credentials.release()
        return result

    with capture_logs() as logs:
        result = asyncio.run(work())
    return SimpleNamespace(
        result=result, source=credentials.assigned._source, relay=served, logs=logs, roles=roles
    )


def rule(keys="", role=A):
    """Return one rule."""
    return f'[[job]]\nrole = "{role}"\n{keys}\n'


def test_a_rule_s_role_is_asked_for_as_the_rule_says():
    """With the job's tags, under a name that finds the run; then the relay serves it."""
    policy = '{"Statement": []}'
    found = assign(rule(f"duration = 900\ntags = {{ a = 'b' }}\npolicy = '{policy}'"))
    assert found.result == (None, None)
    request = found.source._request
    assert (request.role, request.rule, request.name) == (A, "job-1", "5-1-octo-app")
    assert (request.duration, request.policy) == (900, policy.replace(" ", ""))
    assert request.tags["ref"] == "refs/heads/main"
    assert request.tags["a"] == "b"
    assert found.source.where == "sts:AssumeRole"
    assert found.relay.holds == [None]
    assert found.relay.job == ("octo/app run 5 attempt 1 job ?", "job-1")
    assert 0 < found.relay.timeout <= 60
    (event,) = found.logs
    assert (event["event"], event["rule"], event["role"]) == ("role.assigned", "job-1", A)


@pytest.mark.parametrize(
    ("rules", "identity", "why"),
    [
        (rule("ref = 'refs/heads/x'"), JOB, "no rule of SIDECAR_ROLES gives a role to octo/app"),
        (rule("", "none"), JOB, "the rule 'job-1' of SIDECAR_ROLES gives no role to octo/app"),
        (rule(), JobIdentity(), "no rule of SIDECAR_ROLES gives a role to not known"),
        (rule(), None, "it is not known which job this is"),
        ("[default]\nrole = 'task'", JOB, "the task has no role that [default] could give"),
        (rule("proof = 'oidc'"), JOB, "the job lacks permissions: id-token: write"),
    ],
)
def test_a_job_without_a_role_is_refused_by_the_relay(rules, identity, why):
    """With 403 for good; no source is assigned, so nothing else can be served. Its log says so."""
    found = assign(rules, identity)
    assert found.source is None
    assert found.result.refusal is None
    assert why in found.result.notice
    (held,) = found.relay.holds
    assert held.answer.status == 403
    assert why in json.loads(held.answer.body)["message"]
    assert [event["event"] for event in found.logs] == ["role.denied"]


def test_a_required_role_that_is_not_there_fails_the_job():
    """Of a job that nobody knows any rule may be the one that requires it."""
    required = "required = true"
    for found in (
        assign(rule(required), failure="STS is down"),
        assign(rule(f"{required}\nproof = 'oidc'")),
        assign(rule(required), None),
        assign(rule(required), relay=False),
    ):
        assert found.result.refusal.startswith("its role is required: ")
    other = rule("ref = 'refs/heads/x'\n" + required)
    assert assign(other).result.refusal is None


def test_a_role_that_is_late_is_served_later():
    """The job goes on, its log says why, and the relay answers "not yet"."""
    found = assign(rule(), failure="STS is down")
    assert found.result == (None, "STS is down")
    assert found.source is not None
    assert found.relay.holds == [None]
    assert [event["event"] for event in found.logs] == ["role.delayed"]


def test_without_a_relay_nothing_is_served():
    """As where the task has no role: the job goes on without."""
    found = assign(rule(), relay=False)
    assert found.result.notice.startswith("the agent relays no credentials")
    assert found.source is None


def test_the_default_may_be_the_task_s_own_role():
    """Its source is the agent's own endpoint."""
    endpoint = SimpleNamespace(where="x", advice="y")
    assert assign("[default]\nrole = 'task'", endpoint=endpoint).source is endpoint


# ---- GitHub's token -----------------------------------------------------------------------------


def assign_with_token(rules, *, down=False, identity=JOB, **claims):
    """Assign a role to a job that may ask GitHub for its token."""

    async def serve():
        async with oidc.serving() as issuer:
            issuer.is_down = down
            known = {"repository": "octo/app", "run_id": "5", **claims}
            variables = issuer.admit(**known)
            found = await asyncio.to_thread(assign, rules, identity, variables)
            return found, issuer

    return asyncio.run(serve())[0]


def test_only_github_s_token_tells_the_environment():
    """The rule's role is then proved by it: without tags, for as long as the rule says."""
    found = assign_with_token(OIDC, environment="production")
    assert found.source.where == "sts:AssumeRoleWithWebIdentity"
    request = found.source._request
    assert (request.rule, request.duration, dict(request.tags)) == ("production", 7200, {})
    for other in (assign_with_token(OIDC, environment="staging"), assign_with_token(OIDC)):
        assert other.source._request.rule == "others"
    assert assign(OIDC).source._request.rule == "others"


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("repository", "mallory/app"),
        ("repository_id", "8"),
        ("ref", "refs/heads/x"),
        ("event_name", "pull_request_target"),
        ("run_id", "6"),
    ],
)
def test_a_token_that_says_another_job_gives_nothing(claim, value):
    """Neither by that token, nor by what the runner says."""
    found = assign_with_token(OIDC, environment="production", **{claim: value})
    assert found.source is None
    assert f"GitHub's token says another {claim}" in found.result.notice


def test_a_token_is_asked_for_only_where_a_rule_may_need_it():
    """GitHub may be down for everybody else."""
    before = rule("ref = 'refs/heads/main'\nname = 'main'", B) + OIDC
    assert assign_with_token(before, down=True).source._request.rule == "main"
    assert assign(OIDC).roles.names[: len(SENT)] == SENT
    assert "ACTIONS_ID_TOKEN_REQUEST_TOKEN" in assign(OIDC).roles.names
    assert "ACTIONS_ID_TOKEN_REQUEST_TOKEN" not in assign(rule()).roles.names


def test_the_token_that_chose_the_rule_proves_the_first_session(monkeypatch):
    """GitHub is asked once before the job, and again for each session that follows."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    async def work():
        async with oidc.serving() as issuer, sts.serving() as served:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", served.url)
            served.add(A, claims={"environment": "production"}, longest=7200)
            variables = issuer.admit(run_id="5", repository="octo/app", environment="production")
            found = await asyncio.to_thread(assign, OIDC, JOB, variables)
            assert issuer.asked == 1
            counts = []
            async with found.source.connected() as ask:
                for _ in range(2):
                    await ask(time.time(), 60.0)
                    counts.append(issuer.asked)
            return counts, served.assumed

    counts, (first, second) = asyncio.run(work())
    assert counts == [1, 2]
    assert first.claims["jti"] != second.claims["jti"]


def test_github_that_is_down_gives_nothing(monkeypatch):
    """Not even a rule that needs no token, after one that may."""
    monkeypatch.setattr("sidecar.lifecycle.job_roles.TOKEN_TIMEOUT", 0.2)
    found = assign_with_token(OIDC, down=True)
    assert found.source is None
    assert "cannot get the job's OIDC token from GitHub" in found.result.notice


# ---- before a job comes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "proofs"),
    [
        (rule(), {Proof.RUNNER}),
        (rule("proof = 'oidc'"), {Proof.OIDC}),
        (OIDC, {Proof.RUNNER, Proof.OIDC}),
        ("[default]\nrole = 'task'", set()),
        (rule("", "none"), set()),
    ],
)
def test_the_clients_that_the_rules_may_need_are_ready(monkeypatch, rules, proofs):
    """Each once, closed with the life. One that cannot be made is made when it is needed."""
    made, closed = {}, []

    @asynccontextmanager
    async def make_client(region, own, *, anonymous):
        async def connect():
            made[Proof.OIDC if anonymous else Proof.RUNNER].set()
            raise RuntimeError

        assert (region, own) == ("eu-central-1", None)
        made[Proof.OIDC if anonymous else Proof.RUNNER] = asyncio.Event()
        yield SimpleNamespace(connect=connect)
        closed.append(anonymous)

    monkeypatch.setattr(job_roles, "make_client", make_client)
    access = SimpleNamespace(endpoint=None, agent_credentials=None)

    async def work():
        roles = JobRoles(parse_roles(rules), access, JobCredentials(), "eu-central-1")
        async with AsyncExitStack() as running:
            await roles.open_clients(running)
            for ready in made.values():
                await ready.wait()
            assert roles._clients.keys() == proofs
        assert len(closed) == len(proofs)

    with capture_logs() as logs:
        asyncio.run(work())
    assert [event["event"] for event in logs] == ["role.client_failed"] * len(proofs)


def read(monkeypatch, texts, *, names=("/a", "/b"), docker_proxy="auto"):
    """Read the rules from parameters that hold these texts; return them, and who read them."""
    readers = []

    async def read_secret(reference, setting, reader):
        assert setting == "SIDECAR_ROLES"
        readers.append((reference, reader.region))
        if isinstance(found := texts.pop(0), Exception):
            raise found
        return found

    monkeypatch.setattr(secrets, "read_secret", read_secret)
    settings = SimpleNamespace(roles=RolesParameters(names), docker_proxy=docker_proxy)
    return asyncio.run(read_rules(settings, SecretReader("eu-central-1"))), readers


def test_the_texts_of_parameters_make_one_document(monkeypatch):
    """Each is asked for in its own region."""
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/b"
    roles, readers = read(monkeypatch, [rule(), "name = 'x'"], names=("/a", arn))
    assert [one.name for one in roles.jobs] == ["x"]
    assert readers == [("ssm:/a", "eu-central-1"), (f"ssm:{arn}", "us-east-1")]


def test_rules_that_were_given_are_not_read_again():
    """Nor is anything where there are none."""
    for given in (None, Roles()):
        settings = SimpleNamespace(roles=given)
        assert asyncio.run(read_rules(settings, None)) is given


@pytest.mark.parametrize(
    ("texts", "proxy", "code", "words"),
    [
        ([rule("x = 1"), ""], "auto", Exit.SETTINGS, "SIDECAR_ROLES: job 1: x: is no key here"),
        (
            [rule(), "[[container]]\nimage = 'a'\nrole = 'none'"],
            "off",
            Exit.SETTINGS,
            "SIDECAR_ROLES has [[container]], which contradicts SIDECAR_DOCKER_PROXY=off",
        ),
        ([TokenError("access denied"), ""], "auto", Exit.RELAY, "access denied"),
    ],
)
def test_rules_that_cannot_be_used_end_the_life(monkeypatch, texts, proxy, code, words):
    """Before a runner is registered; as mistakes of the settings, or of the relay's source."""
    with pytest.raises((SettingsError, RelayError)) as wrong:
        read(monkeypatch, texts, docker_proxy=proxy)
    assert wrong.value.exit is code
    assert words in str(wrong.value)
