"""A job's role, by the task role's word or by GitHub's token, from an STS that judges both."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from time import time as now

import pytest
from structlog.testing import capture_logs

from local import oidc, sts
from sidecar.aws.container_credentials import RejectedError, UnavailableError
from sidecar.github.id_token import IdTokens
from sidecar.relay import role_session
from sidecar.relay.role_session import RoleSession, SessionRequest

ROLE = "arn:aws:iam::123456789012:role/deploy"
POLICY = '{"Version":"2012-10-17","Statement":[]}'
REQUEST = SessionRequest("deploy", ROLE, "1-1-octo-repo", 900, POLICY, {"ref": "refs/heads/a"})


@pytest.fixture(autouse=True)
def own_credentials(monkeypatch):
    """Give the agent credentials of its own, and no machine to ask for others."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@asynccontextmanager
async def asked(monkeypatch, **role):
    """Serve an STS that knows the role."""
    async with sts.serving() as served:
        served.add(ROLE, **role)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", served.url)
        yield served


async def fetch(request=REQUEST, read_token=None, timeout=60.0):
    """Fetch once."""
    source = RoleSession(request, "eu-central-1", None, read_token)
    async with source.connected() as ask:
        return await ask(now(), timeout)


def test_the_role_is_assumed_with_all_that_the_rule_says(run, monkeypatch):
    """Duration, policy, tags, SourceIdentity; the body is the relay's."""

    async def work():
        async with asked(monkeypatch, tags={"ref": "refs/heads/a"}) as served:
            request = SessionRequest(
                "deploy", ROLE, "1-1-x", 900, POLICY, {"ref": "refs/heads/a"}, "mona"
            )
            return await fetch(request), served.assumed

    held, (session,) = run(work())
    assert json.loads(held.body)["RoleArn"] == held.role_arn == ROLE
    assert 890 < held.expires_at - now() <= 900
    assert (session.session, session.duration, session.policy) == ("1-1-x", 900, POLICY)
    assert (session.tags, session.source_identity) == ({"ref": "refs/heads/a"}, "mona")


def test_another_ref_is_not_trusted(run, monkeypatch):
    """The role's trust policy decides by the tag; the error says what is needed, never a policy."""

    async def work():
        async with asked(monkeypatch, tags={"ref": "refs/heads/main"}):
            await fetch()

    with pytest.raises(RejectedError) as wrong:
        run(work())
    assert "needs sts:AssumeRole and sts:TagSession on it" in str(wrong.value)
    assert "for the rule 'deploy'" in str(wrong.value)
    assert "Statement" not in str(wrong.value)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ((400, "Throttling"), UnavailableError, "throttled by STS"),
        ((503, "ServiceUnavailable"), UnavailableError, "STS answers 503"),
        ((400, "PackedPolicyTooLarge"), RejectedError, "too large for a session (SIDECAR_ROLES)"),
        ((400, "MalformedPolicyDocument"), RejectedError, "cannot read the policy (SIDECAR_ROLES)"),
        ((403, "RegionDisabledException"), RejectedError, "STS is not active in this region"),
        ((400, "ValidationError"), RejectedError, "STS answers ValidationError (SIDECAR_ROLES)"),
    ],
)
def test_each_refusal_names_what_to_change(run, monkeypatch, fault, kind, words):
    """Its class says whether the relay asks again."""

    async def work():
        async with asked(monkeypatch) as served:
            served.faults.append(fault)
            await fetch()

    with pytest.raises(kind) as wrong:
        run(work())
    assert words in str(wrong.value)


def test_sts_that_is_slow_is_left_in_time(run, monkeypatch):
    """The refresher asks again."""

    async def work():
        async with asked(monkeypatch) as served:
            served.slowness = 5.0
            await fetch(timeout=0.3)

    with pytest.raises(UnavailableError, match=r"no answer from STS within 0\.3 s"):
        run(work())


def test_a_session_that_is_nearly_full_is_told_once(run, monkeypatch):
    """PackedPolicySize: the next tag may be too much."""
    tags = {f"k{number}": "x" * 256 for number in range(8)}
    request = SessionRequest("deploy", ROLE, "1-1-x", 900, None, tags)

    async def work():
        async with asked(monkeypatch):
            source = RoleSession(request, "eu-central-1", None)
            async with source.connected() as ask:
                for _ in range(2):
                    await ask(now(), 60.0)

    with capture_logs() as logs:
        run(work())
    (event,) = [each for each in logs if each["event"] == "role.nearly_full"]
    assert (event["packed_percent"], event["tags"], event["rule"]) == (100, 8, "deploy")


def test_github_s_token_is_the_proof_and_nothing_else(run, monkeypatch):
    """No tags; the agent's own credentials are neither looked for nor sent. Renewed each time."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    async def work():
        claims = {"sub": "repo:octo/repo:environment:prod", "aud": "sts.amazonaws.com"}
        async with (
            oidc.serving() as issuer,
            asked(monkeypatch, claims=claims, longest=7200) as served,
        ):
            tokens = IdTokens.from_variables(issuer.admit(sub=claims["sub"]))
            read = partial(tokens.read, "sts.amazonaws.com")
            request = SessionRequest("deploy", ROLE, "1-1-x", 7200, POLICY)
            source = RoleSession(request, "eu-central-1", None, read)
            assert source.where == "sts:AssumeRoleWithWebIdentity"
            async with source.connected() as ask:
                for _ in range(2):
                    await ask(now(), 60.0)
            return served.assumed

    first, second = run(work())
    assert (first.tags, first.policy, first.duration) == ({}, POLICY, 7200)
    assert first.claims["sub"] == "repo:octo/repo:environment:prod"
    assert first.claims["jti"] != second.claims["jti"]


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ((400, "ExpiredTokenException"), UnavailableError, "the credentials have expired"),
        ((400, "InvalidIdentityToken"), RejectedError, "needs an identity provider"),
        ((403, "IDPRejectedClaim"), RejectedError, "not what the role's trust policy asks for"),
        ((403, "AccessDenied"), RejectedError, "for GitHub's identity provider and this job"),
    ],
)
def test_a_refused_token_names_what_to_change(run, monkeypatch, fault, kind, words):
    """One that has expired is fetched anew."""

    async def read():
        return "a.b.c"

    async def work():
        async with asked(monkeypatch) as served:
            served.faults.append(fault)
            await fetch(read_token=read)

    with pytest.raises(kind) as wrong:
        run(work())
    assert words in str(wrong.value)


@pytest.mark.parametrize(("down", "kind"), [(True, UnavailableError), (False, RejectedError)])
def test_a_token_that_github_does_not_give_is_no_session(run, monkeypatch, down, kind):
    """STS is not asked."""

    async def work():
        async with oidc.serving() as issuer, asked(monkeypatch) as served:
            variables = issuer.admit()
            tokens = IdTokens(variables["ACTIONS_ID_TOKEN_REQUEST_URL"], "another-bearer")
            issuer.is_down = down
            try:
                await fetch(read_token=partial(tokens.read, "x"))
            finally:
                assert served.asked == 0

    with pytest.raises(kind, match="cannot get the job's OIDC token from GitHub: it answers"):
        run(work())


@pytest.mark.parametrize("anonymous", [False, True])
def test_a_client_that_was_opened_before_is_used_and_stays_open(run, monkeypatch, anonymous):
    """To make one takes tens of milliseconds, for which a job would wait."""

    async def read_token():
        return oidc.Issuer("https://issuer").mint("sts.amazonaws.com", repository="octo/repo")

    async def work():
        made = []
        claims = {"repository": "octo/repo"} if anonymous else {}
        async with (
            asked(monkeypatch, claims=claims) as served,
            role_session.make_client("eu-central-1", None, anonymous=anonymous) as client,
        ):
            opened = await client.connect()
            monkeypatch.setattr(role_session, "ServiceClient", lambda *_, **__: made.append(1))
            for _ in range(2):
                read = read_token if anonymous else None
                source = RoleSession(REQUEST, "eu-central-1", None, read, client)
                async with source.connected() as ask:
                    await ask(now(), 60.0)
            assert await client.connect() is opened
            return made, served.assumed

    made, assumed = run(work())
    assert made == []
    assert [one.role for one in assumed] == [ROLE, ROLE]
