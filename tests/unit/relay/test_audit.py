"""The audit: the log shows who got credentials and who was refused, and cannot be flooded."""

from __future__ import annotations

from structlog.testing import capture_logs

from sidecar.aws.container_credentials import Credentials
from sidecar.net.http_server import Refusal
from sidecar.relay.audit import _EVENTS, _KINDS

ONE, OTHER = "172.17.0.2", "172.17.0.3"


def test_the_first_answer_of_each_version_to_each_peer_is_an_event(core):
    """It has every fact but the secrets. Repeats are counted."""
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
    first = {**common, "role": "arn:aws:iam::123456789012:role/task", "key_end": "0001"}
    assert logs == [
        {**first, "peer": ONE, "seconds_left": 4000, "repeats": 0},
        {**first, "peer": OTHER, "seconds_left": 4000, "repeats": 0},
        {
            **common,
            "role": None,
            "peer": ONE,
            "key_end": "0002",
            "seconds_left": 3000,
            "repeats": 2,
        },
    ]


def test_an_event_names_job_rule_and_role(core):
    """Of a container's own rule, else of the job's; answers are counted by rule."""
    core.hold(Credentials("ASIATEST0003", 4000.4, "arn:aws:iam::123456789012:role/a", b"{}"))
    core.identities.set_job("octo/repo run 5 attempt 1 job build", "main")
    path = core.identities.mint(rule="db")
    with capture_logs() as logs:
        for asked, peer in ((core.path, ONE), (path, OTHER), (core.path, ONE)):
            core.ask(asked, peer=peer)
    assert [(event["rule"], event["role"][-6:], event["job"]) for event in logs] == [
        ("main", "role/a", "octo/repo run 5 attempt 1 job build"),
        ("db", "role/a", "octo/repo run 5 attempt 1 job build"),
    ]
    assert core.counts.rules == {"main": 2, "db": 1}


def test_an_event_names_the_protocol_and_what_identified_the_client(core):
    """A path of its own, or the address alone."""
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


def test_repeats_are_reported_once_a_minute(core):
    """Also those of a cached decision."""
    with capture_logs() as logs:
        replay = core.ask(core.path).replay
        for _ in range(5):
            assert replay()
        core.now += 59.9
        assert replay()
        core.now += 0.1
        assert replay() is None
        core.ask(core.path)
        core.ask(core.path)
        core.now += 60
        core.ask(core.path)
    assert [line["repeats"] for line in logs] == [0, 6, 1]
    assert core.counts.answers == {("ecs", 200): 10}


def test_a_cached_decision_ends_with_its_credentials(core):
    """At their expiry, and when there is a newer version."""
    replay = core.ask(core.path).replay
    core.hold(Credentials("ASIATEST0002", 1010.0, None, b"{}"))
    assert replay() is None
    replay = core.ask(core.path).replay
    core.now = 1010.0
    assert replay() is None
    assert core.ask(core.path).status == 503


def test_each_kind_of_refusal_is_one_event_a_minute(core):
    """It has reason, peer and the number of repeats, and nothing of the request."""
    with capture_logs() as logs:
        for seconds in (0, 1, 59, 61, 62):
            core.now = 1000.0 + seconds
            core.ask("/v2/credentials/GUESS", peer=ONE)
            core.ask(core.path, method="PUT", peer=OTHER)
            core.router.refuse(Refusal(403, "relayed requests are not answered", "10.0.0.3"))
    assert {line["event"] for line in logs} == {"relay.refused"}
    assert [(line["reason"], line["peer"], line["face"], line["repeats"]) for line in logs] == [
        ("wrong secret", ONE, "ecs", 0),
        ("wrong method", OTHER, "ecs", 0),
        ("relayed requests are not answered", "10.0.0.3", "none", 0),
        ("wrong secret", ONE, "ecs", 2),
        ("wrong method", OTHER, "ecs", 2),
        ("relayed requests are not answered", "10.0.0.3", "none", 2),
    ]
    assert "GUESS" not in repr(logs)


def test_many_addresses_do_not_make_many_lines(core):
    """A client with a whole subnet fills neither log nor memory; the number left out is logged."""
    audit = core.router._audit
    with capture_logs() as logs:
        for number in range(10_000):
            core.ask("/v2/credentials/x", peer=f"10.{number >> 8}.{number & 255}.1")
        assert len(logs) == _EVENTS
        assert len(audit._kinds) == _KINDS
        core.now += 60
        core.ask("/v2/credentials/x", peer="10.255.255.1")
    assert sum(line["unsaid"] for line in logs) == 10_000 - _EVENTS
    assert core.counts.answers == {("ecs", 400): 10_001}


def test_a_refused_container_is_named(core):
    """A refusal names the container whose path was used."""
    path = core.identities.mint()
    core.identities.assign(path, "c1", [ONE])
    with capture_logs() as logs:
        core.ask(path, peer=OTHER)
    (event,) = logs
    assert (event["reason"], event["peer"], event["container"]) == (
        "another container's path",
        OTHER,
        "c1",
    )
