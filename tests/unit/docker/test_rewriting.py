"""The request policy decides which requests are checked, and keeps track of minted paths."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from sidecar.docker import rewriting
from sidecar.docker.binds import Sockets
from sidecar.docker.connection import RequestRefused
from sidecar.docker.credential_variables import RELATIVE_URI, CredentialVariables
from sidecar.docker.heads import parse_request
from sidecar.docker.rewriting import RequestRewriter
from tests.unit.docker.fakes import CREATED, ID, FakePaths

CREATE = parse_request(b"POST /v1.41/containers/create HTTP/1.1\r\n\r\n")


def make_policy(paths: FakePaths, *, strict: bool = False) -> RequestRewriter:
    """Return a policy that adds variables with the paths of `paths`."""

    async def read_image_variables(_: str) -> list[str]:
        return []

    sockets = Sockets.from_paths("/shared/docker.sock", "/run/docker.sock")
    variables = CredentialVariables("eu-central-1", paths.mint)
    return RequestRewriter(sockets, variables, paths, read_image_variables, strict=strict)


def check(policy: RequestRewriter, body: bytes):
    """Check a create request with this body."""
    return asyncio.run(policy.check(CREATE, body))


@pytest.mark.parametrize(
    ("line", "plain", "strict"),
    [
        (b"POST /v1.41/containers/create", True, True),
        (b"POST /v4.0.0/libpod/containers/create", True, True),
        (b"POST /containers/x/exec", False, True),
        (b"POST /volumes/create", False, True),
        (b"POST /containers/x/start", False, False),
        (b"GET /containers/create", False, False),
    ],
)
def test_only_some_requests_are_checked(line, plain, strict):
    """In strict mode also those that start commands and make volumes."""
    request = parse_request(line + b" HTTP/1.1\r\n\r\n")
    for is_strict, is_checked in ((False, plain), (True, strict)):
        limit = make_policy(FakePaths(), strict=is_strict).body_limit(request)
        assert limit == (rewriting.MAX_BODY if is_checked else None)


def test_a_new_container_gets_its_path():
    """The path is in the engine's request, and assigned by the id in its response."""
    paths = FakePaths()
    checked = check(make_policy(paths), b'{"Image":"x"}')
    assert f"{RELATIVE_URI}=/v2/credentials/1" in json.loads(checked.body)["Env"]
    checked.handle_response(201, CREATED)
    assert paths.assigned == [("/v2/credentials/1", ID)]
    assert paths.revoked == []


@pytest.mark.parametrize(
    ("status", "body"), [(409, CREATED), (201, b"{"), (201, b"[]"), (201, b'{"Id":1}')]
)
def test_a_response_without_a_container_revokes_the_path(status, body):
    """Also one that cannot be parsed."""
    paths = FakePaths()
    check(make_policy(paths), b"{}").handle_response(status, body)
    assert paths.revoked == paths.minted == ["/v2/credentials/1"]
    assert paths.assigned == []


def test_a_missing_response_revokes_the_path():
    """It is unknown whether there is a container."""
    paths = FakePaths()
    check(make_policy(paths), b"{}").handle_no_response()
    assert paths.revoked == ["/v2/credentials/1"]


def test_an_unreadable_body_is_a_bad_request():
    """The client's own error, in strict mode too."""
    for strict in (False, True):
        with pytest.raises(RequestRefused) as refused:
            check(make_policy(FakePaths(), strict=strict), b"{")
        assert refused.value.status == 400


def test_a_refusal_is_logged_once_and_at_most_so_often(monkeypatch):
    """A job may send as many dangerous requests as it likes."""
    monkeypatch.setattr(rewriting, "_MAX_WARNINGS", 2)
    policy = make_policy(FakePaths(), strict=True)
    with capture_logs() as logs:
        for mode in ("PidMode", "PidMode", "IpcMode", "NetworkMode"):
            body = json.dumps({"HostConfig": {mode: "host"}}).encode()
            with pytest.raises(RequestRefused) as refused:
                check(policy, body)
            assert refused.value.status == 403
    assert [event["reason"] for event in logs] == [
        "the host's pid namespace",
        "the host's ipc namespace",
    ]
