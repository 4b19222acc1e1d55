"""The instance metadata face: IMDSv2 as SDKs ask it, and nothing of the instance behind it."""

from __future__ import annotations

import json

import pytest

from sidecar.aws.container_credentials import parse
from sidecar.relay.imds_protocol import LONGEST, TOKEN, TTL, ImdsDisabled, ImdsProtocol

HOST = "169.254.169.254"
ROLES = "/latest/meta-data/iam/security-credentials/"


@pytest.fixture
def metadata(core):
    """Give what asks the face, with a session token unless told otherwise."""

    def ask(target, *, token=None, peer="172.17.0.2", method="GET", host=HOST):
        if token is None:
            token = opened(core, peer=peer)
        return core.ask(target, method=method, peer=peer, host=host, headers={TOKEN: token})

    return ask


def opened(core, ttl="21600", peer="172.17.0.2"):
    """Open a session; gives its token."""
    answer = core.ask("/latest/api/token", method="PUT", peer=peer, host=HOST, headers={TTL: ttl})
    assert (answer.status, answer.content_type) == (200, "text/plain")
    return answer.body.decode()


@pytest.mark.parametrize("ttl", ["1", "60", "21600"])
def test_a_token_comes_with_its_lifetime(core, ttl):
    """Go, Ruby and Rust take no token whose lifetime is not said again."""
    answer = core.ask("/latest/api/token", method="PUT", host=HOST, headers={TTL: ttl})
    assert answer.status == 200
    assert f"{TTL}: {ttl}\r\n".encode() in answer.wire
    assert len(answer.body) == 56


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "1.5", "+60", "abc", "٣", "9" * 5000])
def test_a_bad_lifetime_is_400(core, ttl):
    """As the instance says it; whatever it is, it is never a crash."""
    answer = core.ask("/latest/api/token", method="PUT", host=HOST, headers={TTL: ttl})
    assert answer.status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
def test_a_token_is_put(core, method):
    """A request that a browser or a proxy can be talked into gets no token."""
    answer = core.ask("/latest/api/token", method=method, host=HOST, headers={TTL: "60"})
    assert answer.status == 405


@pytest.mark.parametrize("host", [HOST, f"{HOST}:80", "[fd00:ec2::254]"])
def test_the_whole_way_to_credentials(core, metadata, host):
    """Token, role, document: what is in it, how its times are written."""
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
    """A document is rendered once for each version, never kept beyond it."""
    first = metadata(f"{ROLES}task").body
    assert metadata(f"{ROLES}task").body is first
    core.hold(parse(say.held(9000.0, 2), now=core.now, where=""))
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
def test_what_sdks_ask_besides(metadata, target, body):
    """Each takes the region from elsewhere."""
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
def test_all_else_is_not_found(metadata, target):
    """Nothing of the real instance, and no word of its own on what is missing."""
    assert metadata(target).status == 404


def test_no_path_of_the_other_face_works_here(core, metadata):
    """Who knows a secret path asks the address it belongs to."""
    assert metadata(core.path).status == 404
    assert core.ask(f"{ROLES}task", headers={TOKEN: opened(core)}).status == 404


def test_a_region_that_nobody_knows_is_not_made_up(core):
    """An SDK then says that it needs one."""
    face = ImdsProtocol(core.identities, None, core.clock)
    core.router._imds = face
    token = opened(core)
    for target in ("meta-data/placement/region", "dynamic/instance-identity/document"):
        asked = core.ask(f"/latest/{target}", peer="172.17.0.2", host=HOST, headers={TOKEN: token})
        assert asked.status == 404


@pytest.mark.parametrize(
    "token",
    ["", "x", "=" * 56, "A" * 56, "é" * 56, "A" * 5000],
    ids=["none", "short", "padding", "zeros", "not-ascii", "long"],
)
def test_without_a_good_token_there_is_nothing(metadata, token):
    """IMDSv1 is refused, and so is whatever was made up; not even a 404 is told."""
    for target in (ROLES, f"{ROLES}task", "/latest/meta-data/placement/region", "/nothing"):
        assert metadata(target, token=token).status == 401


def test_a_token_ends(core, metadata):
    """To the second."""
    token = opened(core, "60")
    core.now += 59
    assert metadata(ROLES, token=token).status == 200
    core.now += 1
    assert metadata(ROLES, token=token).status == 401


def test_a_token_is_good_for_its_peer_alone(core, metadata):
    """What one container has read out to it, another cannot use."""
    token = opened(core, peer="172.17.0.2")
    assert metadata(ROLES, token=token, peer="172.17.0.3").status == 401
    assert metadata(ROLES, token=token, peer="172.17.0.2").status == 200


def test_a_token_cannot_be_prolonged(core, metadata):
    """Every bit of it is signed."""
    token = opened(core, "60")
    later = opened(core, str(LONGEST))
    assert metadata(ROLES, token=later[:11] + token[11:]).status == 401
    for place in range(len(token) - 2):
        other = "A" if token[place] != "A" else "Q"
        assert metadata(ROLES, token=token[:place] + other + token[place + 1 :]).status == 401


def test_nothing_held_is_a_503(core, metadata):
    """SDKs try that again, where a 404 would end it."""
    core.hold(None)
    assert metadata(ROLES).status == 503
    assert metadata(f"{ROLES}task").status == 503


@pytest.mark.parametrize("arn", [None, "arn:aws:iam::1:role/a/path/of/name"])
def test_the_role_has_a_name(core, metadata, say, arn):
    """The last part of its ARN; an upstream that tells none does not keep it from working."""
    more = {} if arn is None else {"RoleArn": arn}
    body = json.loads(say.held(5000.0, **more))
    if arn is None:
        del body["RoleArn"]
    core.hold(parse(json.dumps(body).encode(), now=core.now, where=""))
    name = metadata(ROLES).body.decode()
    assert name == ("name" if arn else "task-role")
    assert metadata(ROLES + name).status == 200


def test_switched_off_it_still_stands_there(core):
    """Everything is refused, at once, so that the instance's own is out of reach."""
    core.router._imds = ImdsDisabled()
    for method, target in (("PUT", "/latest/api/token"), ("GET", ROLES), ("GET", "/")):
        answer = core.ask(target, method=method, host=HOST, headers={TTL: "60"})
        assert answer.status == 403
