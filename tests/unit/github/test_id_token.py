"""A job's OIDC token: asked for with the job's own URL and bearer, which nobody else sees."""

import asyncio
import base64
import json

import pytest
from aiohttp import web

from local import oidc
from local.listening import listening
from sidecar.github.errors import GitHubError, TransientError
from sidecar.github.id_token import TOKEN, URL, IdTokens, read_claims
from sidecar.log import masks


def test_a_token_says_who_the_job_is():
    """It is asked for anew each time, for one audience, and masked in the log."""

    async def work():
        async with oidc.serving() as issuer:
            tokens = IdTokens.from_variables(issuer.admit(environment="prod"))
            return await tokens.read("sts.amazonaws.com"), await tokens.read("other")

    first, second = asyncio.run(work())
    claims = read_claims(first)
    assert (claims["aud"], claims["environment"]) == ("sts.amazonaws.com", "prod")
    assert read_claims(second)["aud"] == "other"
    assert masks.mask_known_secrets(f"x {first} y") == "x *** y"


@pytest.mark.parametrize(
    "variables", [{}, {URL: "https://x/?a=1"}, {TOKEN: "t"}, {URL: "", TOKEN: ""}]
)
def test_a_job_without_the_permission_has_no_tokens(variables):
    """`permissions: id-token: write` is what it lacks."""
    assert IdTokens.from_variables(variables) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/?a=1",
        "ftp://example.com/?a=1",
        "https:///?a=1",
        "https://example.com/",
        "https://[x/?a=1",
        "https://example.com/\n?a=1",
        "http://169.254.170.2/?a=1",
    ],
)
def test_a_bearer_goes_only_where_nobody_reads_it(url):
    """By TLS, or on the machine itself; the error does not hold the bearer."""
    with pytest.raises(GitHubError) as wrong:
        IdTokens.from_variables({URL: url, TOKEN: "a-bearer-of-the-job"})
    assert "a-bearer" not in str(wrong.value)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (500, "", TransientError, "it answers 500"),
        (429, "", TransientError, "it answers 429"),
        (401, "", GitHubError, "it answers 401"),
        (302, "", GitHubError, "it answers 302"),
        (200, "{}", TransientError, "its answer holds no token"),
        (200, '{"value": 1}', TransientError, "its answer holds no token"),
        (200, json.dumps({"value": "x" * 20_001}), TransientError, "its answer holds no token"),
        (200, "no JSON", TransientError, "ValueError"),
    ],
)
def test_each_failure_says_what_it_is(status, body, kind, words):
    """Its class says whether another try may help; no secret shows."""

    async def answer(_):
        return web.Response(status=status, text=body, headers={"Location": "https://evil/"})

    async def work():
        async with listening(answer) as url:
            tokens = IdTokens(f"{url}/token?secret=of-the-url", "the-bearer-token")
            await tokens.read("x")

    with pytest.raises(GitHubError) as wrong:
        asyncio.run(work())
    assert type(wrong.value) is kind
    assert words in str(wrong.value)
    assert "of-the-url" not in str(wrong.value)


def test_nobody_at_the_url_is_transient():
    """A network may come back."""
    tokens = IdTokens("http://127.0.0.1:9/?a=1", "the-bearer-token")
    with pytest.raises(TransientError, match="ClientConnectorError"):
        asyncio.run(tokens.read("x"))


@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.!.c", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c", "a.\u00e9.c"],
)
def test_what_is_no_token_has_no_claims(token):
    """AWS verifies tokens; here they are only read."""
    assert read_claims(token) == {}
