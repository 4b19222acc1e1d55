"""The audit: who got credentials and who did not, in a log that nobody can flood."""

from __future__ import annotations

from structlog.testing import capture_logs

from sidecar.aws.container_credentials import Credentials
from sidecar.net.http_server import Refusal
from sidecar.relay.audit import _EVENTS, _KINDS

ONE, OTHER = "172.17.0.2", "172.17.0.3"


def test_the_first_answer_of_each_version_to_each_peer_is_an_event(core):
    """With everything but the secrets in it; what is asked again at once is counted."""
    with capture_logs() as logs:
        for peer in (ONE, OTHER, ONE, ONE):
            assert core.ask(core.path, peer=peer).status == 200
        core.hold(Credentials("ASIATEST0002", 4000.4, None, b"{}"))
        core.ask(core.path, peer=ONE)
    common = {
        "event": "relay.answered",
        "log_level": "info",
        "container": None,
        "face": "ecs",
        "decision": "common path",
        "unsaid": 0,
    }
    assert logs == [
        {**common, "peer": ONE, "key_end": "0001", "seconds_left": 4000, "repeats": 0},
        {**common, "peer": OTHER, "key_end": "0001", "seconds_left": 4000, "repeats": 0},
        {**common, "peer": ONE, "key_end": "0002", "seconds_left": 3000, "repeats": 2},
    ]


def test_each_face_and_each_ground_is_told(core):
    """Whose path it was, and that an address alone was enough."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    with capture_logs() as logs:
        core.ask(path, peer=ONE)
        token = core.ask(
            "/latest/api/token",
            method="PUT",
            peer=ONE,
            host="169.254.169.254",
            headers={"x-aws-ec2-metadata-token-ttl-seconds": "60"},
        ).body.decode()
        core.ask(
            "/latest/meta-data/iam/security-credentials/task",
            peer=ONE,
            host="169.254.169.254",
            headers={"x-aws-ec2-metadata-token": token},
        )
    assert [(line["container"], line["face"], line["decision"]) for line in logs] == [
        ("c1", "ecs", "own path"),
        ("c1", "imds", "address"),
    ]


def test_repeats_are_told_once_a_minute(core):
    """Also those that were answered without being judged again."""
    with capture_logs() as logs:
        standing = core.ask(core.path).replay
        for _ in range(5):
            assert standing()
        core.now += 59.9
        assert standing()
        core.now += 0.1
        assert standing() is None
        core.ask(core.path)
        core.ask(core.path)
        core.now += 60
        core.ask(core.path)
    assert [line["repeats"] for line in logs] == [0, 6, 1]
    assert core.counts.answers == {("ecs", 200): 10}


def test_an_answer_does_not_stand_beyond_what_it_hands_out(core):
    """Neither after its expiry nor after a newer version came."""
    standing = core.ask(core.path).replay
    core.hold(Credentials("ASIATEST0002", 1010.0, None, b"{}"))
    assert standing() is None
    standing = core.ask(core.path).replay
    core.now = 1010.0
    assert standing() is None
    assert core.ask(core.path).status == 503


def test_every_refusal_is_told_once_a_minute_of_each_kind(core):
    """Why and who, how many were left out, and nothing of what was asked."""
    with capture_logs() as logs:
        for seconds in (0, 1, 59, 61, 62):
            core.now = 1000.0 + seconds
            core.ask("/v2/credentials/GUESS", peer=ONE)
            core.ask(core.path, method="PUT", peer=OTHER)
            core.router.refuse(Refusal(403, "relayed requests are not answered", "10.0.0.3"))
    assert {line["event"] for line in logs} == {"relay.refused"}
    assert [(line["why"], line["peer"], line["face"], line["repeats"]) for line in logs] == [
        ("wrong secret", ONE, "ecs", 0),
        ("wrong method", OTHER, "ecs", 0),
        ("relayed requests are not answered", "10.0.0.3", "none", 0),
        ("wrong secret", ONE, "ecs", 2),
        ("wrong method", OTHER, "ecs", 2),
        ("relayed requests are not answered", "10.0.0.3", "none", 2),
    ]
    assert "GUESS" not in repr(logs)


def test_many_addresses_do_not_make_many_lines(core):
    """Somebody with a whole subnet fills neither the log nor the memory; the sum is told."""
    audit = core.router._audit
    with capture_logs() as logs:
        for number in range(10_000):
            core.ask("/v2/credentials/x", peer=f"10.{number >> 8}.{number & 255}.1")
        assert len(logs) == _EVENTS
        assert len(audit._kinds) == _KINDS
        core.now += 60
        core.ask("/v2/credentials/x", peer="10.255.255.1")
    assert logs[-1]["unsaid"] == 10_000 - _EVENTS
    assert core.counts.answers == {("ecs", 400): 10_001}


def test_a_refused_container_is_named(core):
    """Who uses another's path is told together with whose it is."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    with capture_logs() as logs:
        core.ask(path, peer=OTHER)
    (told,) = logs
    assert (told["why"], told["peer"], told["container"]) == (
        "another container's path",
        OTHER,
        "c1",
    )
