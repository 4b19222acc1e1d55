"""The IMDS protocol: IMDSv2 as SDKs use it, with nothing of the real instance."""

from __future__ import annotations

import json

import pytest

from sidecar.aws.container_credentials import parse_credentials
from sidecar.relay.imds_protocol import LONGEST, TOKEN, TTL, ImdsDisabled, ImdsProtocol

HOST = "169.254.169.254"
ROLES = "/latest/meta-data/iam/security-credentials/"


@pytest.fixture
def metadata(core):
    """Return a function that asks by IMDS, with a new session token unless it gets one."""

    def ask(target, *, token=None, peer="172.17.0.2", method="GET", host=HOST):
        if token is None:
            token = open_session(core, peer=peer)
        return core.ask(target, method=method, peer=peer, host=host, headers={TOKEN: token})

    return ask


def open_session(core, ttl="21600", peer="172.17.0.2"):
    """Return a new session token."""
    answer = core.ask("/latest/api/token", method="PUT", peer=peer, host=HOST, headers={TTL: ttl})
    assert (answer.status, answer.content_type) == (200, "text/plain")
    return answer.body.decode()


@pytest.mark.parametrize("ttl", ["1", "60", "21600"])
def test_a_token_comes_with_its_lifetime(core, ttl):
    """The SDKs for Go, Ruby and Rust need the lifetime in the answer."""
    answer = core.ask("/latest/api/token", method="PUT", host=HOST, headers={TTL: ttl})
    assert answer.status == 200
    assert f"{TTL}: {ttl}\r\n".encode() in answer.wire
    assert len(answer.body) == 56


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "1.5", "+60", "abc", "٣", "9" * 5000])
def test_a_bad_lifetime_is_400(core, ttl):
    """As at the instance; no value makes the relay fail."""
    answer = core.ask("/latest/api/token", method="PUT", host=HOST, headers={TTL: ttl})
    assert answer.status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
def test_only_put_gets_a_token(core, method):
    """A request that others can make a browser or a proxy send gets no token."""
    answer = core.ask("/latest/api/token", method=method, host=HOST, headers={TTL: "60"})
    assert answer.status == 405


@pytest.mark.parametrize("host", [HOST, f"{HOST}:80", "[fd00:ec2::254]"])
def test_credentials_in_three_requests(core, metadata, host):
    """Token, role name and document; the document has these keys and this form of times."""
    role = metadata(ROLES, host=host)
    assert (role.status, role.body) == (200, b"task")
    answer = metadata(f"{ROLES}task", host=host)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert json.loads(answer.body) == {
        "Code": "Success",
        "LastUpdated": "1970-01-01T00:16:40Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIATESTKEY00001",
        "SecretAccessKey": "SECRET-KEY",
        "Token": "SESSION-TOKEN",
        "Expiration": "1970-01-01T01:23:20Z",
    }


def test_a_newer_version_is_a_newer_document(core, metadata, say):
    """A document is rendered once for each version of the credentials."""
    first = metadata(f"{ROLES}task").body
    assert metadata(f"{ROLES}task").body is first
    core.hold(parse_credentials(say.held(9000.0, 2), now=core.now, where=""))
    assert json.loads(metadata(f"{ROLES}task").body)["AccessKeyId"] == "ASIATESTKEY00002"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/latest/meta-data/placement/availability-zone/", b"eu-north-1a"),
        ("/latest/meta-data/placement/availability-zone", b"eu-north-1a"),
        ("/latest/meta-data/placement/region", b"eu-north-1"),
        ("/latest/dynamic/instance-identity/document", b'{"region":"eu-north-1"}'),
        ("/latest/meta-data/iam/info", b'{"Code":"Success"}'),
        ("/latest/meta-data/iam/security-credentials", b"task"),
    ],
)
def test_other_paths_that_sdks_ask(metadata, target, body):
    """Each SDK reads the region from another path."""
    answer = metadata(target)
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/latest/meta-data/",
        "/latest/user-data",
        "/latest/meta-data/iam/security-credentials-extended/",
        "/latest/meta-data/iam/security-credentials-extended/task",
        f"{ROLES}other",
        f"{ROLES}task/x",
        f"{ROLES}../task",
        "/latest/meta-data/instance-id",
        "/latest/meta-data/spot/instance-action",
        "/v2/credentials/",
    ],
)
def test_every_other_path_is_not_found(metadata, target):
    """There is nothing of the real instance."""
    assert metadata(target).status == 404


def test_each_protocol_has_its_own_paths(core, metadata):
    """A path of one protocol is not found by the other."""
    assert metadata(core.path).status == 404
    assert core.ask(f"{ROLES}task", headers={TOKEN: open_session(core)}).status == 404


def test_an_unknown_region_is_not_found(core):
    """The SDK then reports that it needs one."""
    protocol = ImdsProtocol(core.identities, None, core.clock)
    core.router._imds = protocol
    token = open_session(core)
    for target in ("meta-data/placement/region", "dynamic/instance-identity/document"):
        asked = core.ask(f"/latest/{target}", peer="172.17.0.2", host=HOST, headers={TOKEN: token})
        assert asked.status == 404


def test_a_machine_is_told_who_it_is(core):
    """Its programs are led to the relay too; the machine's own facts win, others stay unknown."""
    facts = {
        "instance-id": "i-1",
        "placement/availability-zone": "eu-west-2c",
        "instance-identity/document": '{"instanceId": "i-1"}',
    }
    core.router._imds = ImdsProtocol(core.identities, "eu-west-2", core.clock, facts)
    token = open_session(core)
    for target, body in (
        ("meta-data/instance-id", b"i-1"),
        ("meta-data/placement/availability-zone", b"eu-west-2c"),
        ("meta-data/placement/region", b"eu-west-2"),
        ("dynamic/instance-identity/document", b'{"instanceId": "i-1"}'),
        ("meta-data/tags/instance/Name", None),
        ("user-data", None),
    ):
        asked = core.ask(f"/latest/{target}", peer="172.17.0.2", host=HOST, headers={TOKEN: token})
        assert (asked.status, asked.body) == ((200, body) if body else (404, b"not found\n"))


@pytest.mark.parametrize(
    "token",
    ["", "x", "=" * 56, "A" * 56, "é" * 56, "A" * 5000],
    ids=["none", "short", "padding", "zeros", "not-ascii", "long"],
)
def test_without_a_valid_token_everything_is_refused(metadata, token):
    """IMDSv1 and invented tokens are refused, also for paths that do not exist."""
    for target in (ROLES, f"{ROLES}task", "/latest/meta-data/placement/region", "/nothing"):
        assert metadata(target, token=token).status == 401


def test_a_token_expires(core, metadata):
    """Exactly at the second that was asked for."""
    token = open_session(core, "60")
    core.now += 59
    assert metadata(ROLES, token=token).status == 200
    core.now += 1
    assert metadata(ROLES, token=token).status == 401


def test_a_token_is_valid_for_its_peer_only(core, metadata):
    """A container cannot use the token of another one."""
    token = open_session(core, peer="172.17.0.2")
    assert metadata(ROLES, token=token, peer="172.17.0.3").status == 401
    assert metadata(ROLES, token=token, peer="172.17.0.2").status == 200


def test_a_token_cannot_be_prolonged(core, metadata):
    """Every bit of it is covered by the signature."""
    token = open_session(core, "60")
    later = open_session(core, str(LONGEST))
    assert metadata(ROLES, token=later[:11] + token[11:]).status == 401
    for place in range(len(token) - 2):
        other = "A" if token[place] != "A" else "Q"
        assert metadata(ROLES, token=token[:place] + other + token[place + 1 :]).status == 401


def test_without_credentials_the_answer_is_503(core, metadata):
    """SDKs try again after a 503, but not after a 404."""
    core.hold(None)
    assert metadata(ROLES).status == 503
    assert metadata(f"{ROLES}task").status == 503


@pytest.mark.parametrize("arn", [None, "arn:aws:iam::1:role/a/path/of/name"])
def test_the_role_has_a_name(core, metadata, say, arn):
    """It is the last part of its ARN, or a fixed name if upstream gives no ARN."""
    more = {} if arn is None else {"RoleArn": arn}
    body = json.loads(say.held(5000.0, **more))
    if arn is None:
        del body["RoleArn"]
    core.hold(parse_credentials(json.dumps(body).encode(), now=core.now, where=""))
    name = metadata(ROLES).body.decode()
    assert name == ("name" if arn else "task-role")
    assert metadata(ROLES + name).status == 200


def test_disabled_imds_refuses_every_request(core):
    """At once, so that nobody reaches the instance's own metadata."""
    core.router._imds = ImdsDisabled()
    for method, target in (("PUT", "/latest/api/token"), ("GET", ROLES), ("GET", "/")):
        answer = core.ask(target, method=method, host=HOST, headers={TTL: "60"})
        assert answer.status == 403
