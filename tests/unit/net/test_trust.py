"""One rule says which certificates the agent trusts, for its calls to AWS and to GitHub."""

from __future__ import annotations

import asyncio
import os
import ssl

import pytest
import trustme
from structlog.testing import capture_logs

from sidecar.aws import session
from sidecar.aws.agent_credentials import make_session
from sidecar.aws.calls import SSM, AccessDenied, Call, TransientError
from sidecar.github import Connection, Pat
from sidecar.github.errors import PermissionDenied
from sidecar.github.errors import TransientError as GitHubTransientError
from sidecar.net import proxy, trust
from tests.support.servers import serving

PATIENCE = 120.0
BODY = b'{"__type": "AccessDeniedException", "message": "no"}'
HEAD = (
    b"HTTP/1.1 403 No\r\nContent-Type: application/x-amz-json-1.1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY)
)


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """Make an authority that no store has; return it and the file of its certificate."""
    for name in (*trust.STORE, *trust.ADDED):
        monkeypatch.delenv(name, raising=False)
    for name in [each for each in os.environ if proxy.is_proxy_variable(each)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    return issuer, tmp_path / "company.pem"


async def refuse(reader, writer):
    """Answer whatever is asked as AWS and GitHub refuse it."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(HEAD + BODY)
    await writer.drain()
    writer.close()


def ask_both(monkeypatch, issuer):
    """Ask an AWS and a GitHub with a certificate of this issuer; return what the calls raise."""

    async def ask_aws(url):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", url)
        async with session.ServiceClient(SSM, "eu-central-1", make_session) as client:

            async def read():
                return await (await client.connect()).get_parameter(Name="/x")

            await Call("cannot read it", SSM, "ssm:GetParameter", "SIDECAR_SETTING").run(read)

    async def ask_github(url):
        async def credential():
            return Pat("x")

        async with Connection(credential) as connection:
            connection.url = f"{url}/o"
            api = await connection.api()
            await api.call("GET", "/x", expects={}, tries=1)

    async def play():
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        issuer.issue_cert("127.0.0.1").configure_cert(tls)
        async with serving(refuse, ssl=tls) as server:
            url = "https://{}:{}".format(*server.sockets[0].getsockname())
            asked = (ask_aws(url), ask_github(url))
            return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE)

    return asyncio.run(play())


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", *trust.ADDED])
def test_an_authority_counts_for_every_call(monkeypatch, authority, name):
    """Each of the variables alone is enough to reach AWS and GitHub."""
    issuer, path = authority
    monkeypatch.setenv(name, str(path))
    assert [type(each) for each in ask_both(monkeypatch, issuer)] == [
        AccessDenied,
        PermissionDenied,
    ]


def test_a_certificate_that_is_not_trusted_is_named_as_such(monkeypatch, authority):
    """No call says that the network has no path; each says where to add the authority."""
    issuer, _ = authority
    aws, github = ask_both(monkeypatch, issuer)
    assert isinstance(aws, TransientError)
    assert isinstance(github, GitHubTransientError)
    for error in (aws, github):
        assert "its certificate is not trusted: unable to get local issuer" in str(error)
        assert "SSL_CERT_FILE" in str(error)
        assert "NAT gateway" not in str(error)
    with monkeypatch.context() as without:  # the switch: without the rule the hint is a wrong one
        without.setattr("sidecar.aws.calls.explain_tls", lambda _error: None)
        aws, _ = ask_both(monkeypatch, issuer)
        assert "NAT gateway" in str(aws)


def test_the_public_authorities_are_trusted_beside_a_company_s(authority, monkeypatch):
    """A variable adds to them: its file need not hold the authority of AWS."""
    _, path = authority
    count = len(trust.make_context().get_ca_certs())
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert len(trust.make_context().get_ca_certs()) > 100
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    assert len(trust.make_context().get_ca_certs()) == count + 1


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"])
def test_a_file_that_cannot_be_read_is_named_and_ends_nothing(monkeypatch, authority, name):
    """A job's variable may name what only its containers have."""
    _, path = authority
    missing = str(path.with_name("missing.pem"))
    monkeypatch.setenv(name, missing)
    with capture_logs() as events:
        assert trust.make_context().get_ca_certs()
        assert trust.make_context() is trust.make_context()
    ((event),) = events
    assert (event["event"], event["setting"], event["path"]) == (
        "trust.file_refused",
        name,
        missing,
    )


def test_a_file_without_certificates_is_named(monkeypatch, authority):
    """So is one that holds something else."""
    _, path = authority
    path.write_text("no certificate\n")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    with capture_logs() as events:
        trust.make_context()
    assert [event["event"] for event in events] == ["trust.file_refused"]


def test_a_folder_of_certificates_may_be_named(monkeypatch, authority):
    """As requests and OpenSSL read such a folder; nothing in it is read before it is needed."""
    _, path = authority
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path.parent))
    with capture_logs() as events:
        trust.make_context()
    assert events == []
