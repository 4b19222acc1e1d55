"""One fetch from a credential endpoint: its request, what it accepts, its errors."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from sidecar.aws import container_credentials as source
from sidecar.aws.container_credentials import (
    Endpoint,
    RejectedError,
    UnavailableError,
    UpstreamError,
)
from sidecar.errors import RelayError


async def ask(endpoint, now, timeout=60.0):
    """Fetch once."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        return await source.fetch(session, endpoint, now=now, timeout=timeout)


# --- which endpoint -----------------------------------------------------------------------------


def test_no_variable_is_no_endpoint():
    """A task without a role has no endpoint, also where the variables are empty."""
    assert Endpoint.from_variables() is None
    assert (
        Endpoint.from_variables(relative_uri="", full_uri="", authorization="", token_file="")
        is None
    )


def test_the_relative_uri_is_at_the_ecs_agent():
    """A relative URI wins over a full one, as in most SDKs."""
    endpoint = Endpoint.from_variables(
        relative_uri="/v2/credentials/x", full_uri="http://localhost/y"
    )
    assert endpoint is not None
    assert endpoint.url == "http://169.254.170.2/v2/credentials/x"
    assert endpoint.where == "169.254.170.2"
    assert endpoint.variable == "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1234/x",
        "http://localhost/x",
        "http://[::1]:80/x",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
        "https://credentials.example/x?y",
    ],
)
def test_a_full_uri_is_taken_as_it_is(uri):
    """The relay accepts what SDKs accept."""
    endpoint = Endpoint.from_variables(full_uri=uri, authorization="a", token_file="/b")
    assert endpoint is not None
    assert (endpoint.url, endpoint.authorization, endpoint.token_file) == (uri, "a", Path("/b"))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"relative_uri": "v2/credentials"}, "RELATIVE_URI is not a path"),
        ({"relative_uri": "/v2/a b"}, "RELATIVE_URI is not a path"),
        ({"full_uri": "http://10.0.0.1/x"}, "names 10.0.0.1 over plain http"),
        ({"full_uri": "http://evil.example/x"}, "use https"),
        ({"full_uri": "ftp://localhost/x"}, "not an http or https URL"),
        ({"full_uri": "localhost/x"}, "not an http or https URL"),
        ({"full_uri": "http://[::1/x"}, "is not a URL"),
        ({"full_uri": "http://localhost:99999/x"}, "is not a URL"),
        ({"full_uri": "http://localhost/\r\nx"}, "not an http or https URL"),
    ],
)
def test_a_uri_that_no_sdk_would_use_is_refused(given, why):
    """The error names the variable."""
    with pytest.raises(RelayError, match=why):
        Endpoint.from_variables(**given)


def test_an_endpoint_has_no_secret_in_its_repr():
    """Neither its path, nor a user in its URL, nor the authorization is shown."""
    endpoint = Endpoint.from_variables(
        full_uri="https://user:word@host:1/SECRET", authorization="SECRET"
    )
    assert endpoint is not None
    assert "SECRET" not in repr(endpoint)
    assert "word" not in repr(endpoint)
    assert endpoint.where == "host:1"


# --- what is sent -------------------------------------------------------------------------------


def test_the_token_file_is_read_each_time(run, upstream, say, tmp_path):
    """A rotated token is used at once, without its newline; the file wins over the token."""
    file = tmp_path / "token"

    async def case():
        async with upstream(say.good()) as served:
            endpoint = Endpoint(served.endpoint.url, authorization="other", token_file=file)
            for text in ("first\n", "second\r\n", "Bearer a b"):
                file.write_text(text, newline="")
                await ask(endpoint, say.start)
            return served.heads

    heads = run(case())
    assert [head.split("Authorization: ")[1].split("\r\n")[0] for head in heads] == [
        "first",
        "second",
        "Bearer a b",
    ]


def test_a_request_has_only_the_headers_it_needs(run, upstream, say):
    """Without a token there is no Authorization; the answer may not be compressed."""

    async def case():
        async with upstream(say.good()) as served:
            await ask(served.endpoint, say.start)
            return served.heads

    (head,) = run(case())
    assert head.startswith("GET /SECRET-PATH HTTP/1.1\r\n")
    assert "Authorization" not in head
    assert "Accept-Encoding: identity\r\n" in head


@pytest.mark.parametrize("text", ["", "\n", None])
def test_a_token_file_without_a_token_is_retried(run, tmp_path, text):
    """The error names the variable of the missing or empty file."""
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)

    async def case():
        await ask(Endpoint("http://127.0.0.1:9/x", token_file=file), 0)

    with pytest.raises(UnavailableError, match="AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        run(case())


def test_a_token_of_two_lines_is_never_sent(run):
    """It would be two headers; the error does not show it."""

    async def case():
        await ask(Endpoint("http://127.0.0.1:9/x", authorization="a\r\nX: SECRET"), 0)

    with pytest.raises(RejectedError, match="more than one line") as caught:
        run(case())
    assert "SECRET" not in str(caught.value)


# --- what is accepted ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expiration", "normalized"),
    [
        ("2027-01-15T14:00:00Z", "2027-01-15T14:00:00Z"),
        ("2027-01-15T14:00:00+00:00", "2027-01-15T14:00:00Z"),
        ("2027-01-15T15:00:00+01:00", "2027-01-15T14:00:00Z"),
        ("2027-01-15T14:00:00.999Z", "2027-01-15T14:00:00Z"),
        ("2027-01-15T14:00:00", "2027-01-15T14:00:00Z"),
    ],
)
def test_expiration_always_ends_in_z(say, expiration, normalized):
    """Some SDKs cannot read offsets and fractions; the moment is the same."""
    found = source.parse_credentials(say.held(0, Expiration=expiration), now=say.start, where="x")
    assert json.loads(found.body)["Expiration"] == normalized
    assert found.expires_at == say.start + 6 * 3600


def test_only_keys_that_sdks_know_are_passed_on(say):
    """In the ECS agent's order, with RoleArn and AccountId, and no others."""
    body = say.held(say.start + 60, AccountId="123456789012", Secret="more", LastUpdated="x")
    found = source.parse_credentials(body, now=say.start, where="x")
    assert found.body == (
        b'{"RoleArn":"arn:aws:iam::123456789012:role/task","AccessKeyId":"ASIATESTKEY00001",'
        b'"SecretAccessKey":"SECRET-KEY","Token":"SESSION-TOKEN",'
        b'"Expiration":"2027-01-15T08:01:00Z","AccountId":"123456789012"}'
    )
    assert found.key_end == "0001"
    assert "SECRET" not in repr(found)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "without a usable AccessKeyId"),
        (b"<html>", "without a usable"),
        (b"[1]", "without a usable"),
        (b"[" * 50_000, "without a usable"),
        (b'{"Code": "Success"}', "AccessKeyId, Expiration, SecretAccessKey, Token"),
        ({"Token": ""}, "without a usable Token"),
        ({"Token": None}, "without a usable Token"),
        ({"SecretAccessKey": "a\nb"}, "without a usable SecretAccessKey"),
        ({"Expiration": "tomorrow"}, "no date"),
        ({"Expiration": "9999-12-31T23:59:59-23:59"}, "no date"),
        ({"Expiration": "2027-01-15T08:00:00Z"}, "expired"),
        ({"Expiration": "2020-01-01T00:00:00Z"}, "expired"),
        ({"Token": "x" * 10_000}, "bytes"),
    ],
)
def test_an_answer_without_usable_credentials_is_retried(say, body, why):
    """The error says what is wrong with it, and holds no secret."""
    if isinstance(body, dict):
        body = json.dumps({**json.loads(say.held(say.start + 60)), **body}).encode()
    with pytest.raises(UnavailableError, match=why) as caught:
        source.parse_credentials(body, now=say.start, where="x")
    assert "SECRET" not in str(caught.value)


# --- what fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "why"),
    [
        (429, b"You have reached maximum request limit.", UnavailableError, "answered 429"),
        (500, b'{"code":"InternalServerError"}', UnavailableError, "500 InternalServerError"),
        (503, b'{"code":"CredentialsUninitialized"}', UnavailableError, "CredentialsUninitialized"),
        (400, b'{"code":"InvalidIdInRequest"}', RejectedError, "400 InvalidIdInRequest"),
        (400, b'{"Code":"\\u001b[31mSECRET"}', RejectedError, "answered 400$"),
        (401, b"", RejectedError, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        (403, b"", RejectedError, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        (404, b"404 page not found", RejectedError, "answered 404"),
        (301, b"", RejectedError, "answered 301"),
        (204, b"", RejectedError, "answered 204"),
    ],
)
def test_the_status_decides_whether_to_retry(run, upstream, say, status, body, kind, why):
    """429 and 5xx are transient; other refusals and redirects are final."""

    async def case():
        location = "Location: http://127.0.0.1:9/elsewhere"
        async with upstream(say.answer(status, body, location)) as served:
            try:
                await ask(served.endpoint, say.start)
            finally:
                assert len(served.heads) == 1

    with pytest.raises(kind, match=why) as caught:
        run(case())
    assert type(caught.value) is kind
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (None, "did not answer within 0.2 s"),
        (b"", "cannot reach"),
        (b"SSH-2.0-nonsense\r\n\r\n", "cannot reach"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", "cannot reach"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"{" * 200_000, "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b", "without a usable"),
    ],
)
def test_a_broken_endpoint_is_retried(run, upstream, say, raw, why):
    """Silence, a broken answer, half of one or too much of one ends the try, in bounded time."""

    async def case():
        async with upstream(raw) as served:
            timeout = 0.2 if raw is None else 60.0
            await ask(served.endpoint, say.start, timeout=timeout)

    with pytest.raises(UnavailableError, match=why) as caught:
        run(case())
    assert "SECRET" not in str(caught.value)


def test_an_unreachable_endpoint_is_an_error_with_its_reason(run):
    """The reason is the system's; the address is host and port alone."""

    async def case():
        await ask(Endpoint("http://127.0.0.1:9/SECRET"), 0)

    with pytest.raises(UpstreamError, match=r"^cannot reach 127\.0\.0\.1:9: connection refused$"):
        run(case())
