"""A refusal stands in the log, whatever else is asked at the same time."""

import json

import pytest
from structlog.testing import capture_logs

from sidecar.docker import rewriting, warning_limit
from sidecar.relay import audit
from sidecar.relay.audit import Audit
from tests.unit.docker.test_rewriting import FakePaths, RequestRefused, check, make_policy

OWN_STEP, NEIGHBOUR = "127.0.0.1", "172.18.0.2"
FLOODS = {
    "one address": [("172.17.0.2", f"reason {number}") for number in range(2000)],
    "one network": [(f"172.17.{n >> 8}.{n & 255}", "wrong secret") for n in range(2000)],
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_flood_leaves_room_for_the_line_of_another(mended, flood, monkeypatch):
    """For a job's own steps, and for a container of another network; each in the same minute.

    With one limit for all, as there was once, neither line is written.
    """
    if not mended:
        monkeypatch.setattr(audit, "_NETWORK_EVENTS", audit._EVENTS)
        monkeypatch.setattr(audit, "_PEER_EVENTS", audit._EVENTS)
        monkeypatch.setattr(audit, "LOOPBACK", None)
        monkeypatch.setattr(audit, "find_network", lambda _peer: "one for all")
    audited = Audit(lambda: 1000.0)
    with capture_logs() as logs:
        for peer, reason in FLOODS[flood]:
            audited.refused(peer, "ecs", None, reason)
        flooded = len(logs)
        for peer in (OWN_STEP, NEIGHBOUR):
            audited.refused(peer, "ecs", None, "wrong secret")
    written = [line["peer"] for line in logs[flooded:]]
    if mended:
        assert written == [OWN_STEP, NEIGHBOUR]
        assert flooded <= audit._NETWORK_EVENTS
        assert logs[flooded]["unsaid"] == 2000 - flooded
    else:
        assert written == []


def test_refusals_leave_room_for_answers():
    """Whoever got credentials is written although refusals have used up their lines."""
    from sidecar.aws.container_credentials import Credentials

    audited = Audit(lambda: 1000.0)
    with capture_logs() as logs:
        for number in range(audit._EVENTS * 2):
            audited.refused(f"10.{number >> 8}.{number & 255}.1", "ecs", None, "wrong secret")
            audited.refused(f"172.{number & 255}.0.1", "ecs", None, "wrong secret")
        assert len(logs) == audit._EVENTS
        given = Credentials("ASIATEST0001", 4000.0, None, b"{}")
        audited.answered("10.1.1.1", "ecs", None, "common path", given)
    assert logs[-1]["event"] == "relay.answered"


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("127.0.0.1", audit.LOOPBACK),
        ("127.9.9.9", audit.LOOPBACK),
        ("::1", audit.LOOPBACK),
        ("172.17.0.2", "172.17"),
        ("fd00:1:2:3:4::5", "fd00:1:2:3"),
        ("", ""),
    ],
)
def test_the_network_of_a_peer(peer, network):
    """Docker gives each network a /16; by IPv6 a network has a /64."""
    assert audit.find_network(peer) == network


# --- the docker proxy -----------------------------------------------------------------------------


def refuse(policy, host_config):
    """Ask for a container that strict mode refuses."""
    with pytest.raises(RequestRefused) as refused:
        check(policy, json.dumps({"HostConfig": host_config}).encode())
    assert refused.value.status == 403


@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_names_that_a_job_chooses_leave_room_for_another_kind_of_refusal(mended, monkeypatch):
    """A hundred devices of its own choice do not hide that it asked for the host's processes."""
    if not mended:
        monkeypatch.setattr(rewriting, "_find_kind", lambda _problem: "one for all")
    policy = make_policy(FakePaths(), strict=True)
    with capture_logs() as logs:
        for number in range(100):
            device = {"PathOnHost": f"/dev/mine{number}", "PathInContainer": "/dev/x"}
            refuse(policy, {"Devices": [device]})
        flooded = len(logs)
        refuse(policy, {"PidMode": "host"})
    assert flooded == warning_limit.MAX_LINES
    reasons = [line["reason"] for line in logs[flooded:]]
    assert reasons == (["the host's pid namespace"] if mended else [])
