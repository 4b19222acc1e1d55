"""Where the docker daemon runs, as its networks or its address show it."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.relay import daemon_location
from sidecar.relay.daemon_location import Bridge, DaemonLocation, bridges, locate_daemon


class FakeDaemon:
    """A daemon on a hostname, or behind a socket with these networks; None: it does not answer."""

    def __init__(self, networks=None, hostname=None) -> None:
        self.hostname = hostname
        self._networks = networks

    async def networks(self):
        """Return the networks."""
        if self._networks is None:
            raise LookupError("it is silent")
        return list(self._networks)


def locate(*networks, silent=False, hostname=None):
    """Locate a daemon with these networks."""
    return asyncio.run(locate_daemon(FakeDaemon(None if silent else networks, hostname)))


def bridge(name="docker0", gateway=None, subnet="192.0.2.0/24", driver="bridge"):
    """Return a network as the daemon reports it."""
    config = {"Subnet": subnet, **({"Gateway": gateway} if gateway else {})}
    options = {"com.docker.network.bridge.name": name}
    return {"Driver": driver, "Id": "0" * 64, "Options": options, "IPAM": {"Config": [config]}}


def test_without_a_daemon_the_location_is_absent():
    """Nothing names one."""
    assert asyncio.run(locate_daemon(None))[0] is DaemonLocation.ABSENT


def test_a_daemon_is_located_by_its_bridge(monkeypatch):
    """By the address of the gateway, or by an interface with that name and network."""
    here, elsewhere = DaemonLocation.HERE, DaemonLocation.ELSEWHERE
    assert locate(silent=True) == (DaemonLocation.SILENT, "it is silent")
    assert locate()[0] is elsewhere
    assert locate(bridge(gateway="127.0.0.1"))[0] is here
    assert locate(bridge(gateway="127.0.0.1", driver="x"))[0] is elsewhere
    monkeypatch.setattr(
        daemon_location, "has_network", lambda *seen: seen == ("docker0", "192.0.2.0/24")
    )
    assert locate(bridge())[0] is here
    assert locate(bridge(name=""))[0] is elsewhere


def test_each_subnet_of_a_bridge_network_is_a_bridge():
    """Without a name option, the interface is named after the network's id."""
    named, unnamed = bridge(gateway="127.0.0.1"), bridge(name="")
    assert bridges([named, unnamed, bridge(driver="host"), {"Driver": "bridge"}]) == [
        Bridge("docker0", "192.0.2.0/24", "127.0.0.1"),
        Bridge("br-000000000000", "192.0.2.0/24", None),
    ]


@pytest.mark.parametrize(
    ("hostname", "location"),
    [
        ("127.0.0.1", DaemonLocation.HERE),
        ("localhost", DaemonLocation.HERE),
        ("nowhere.invalid", DaemonLocation.SILENT),
    ],
)
def test_a_daemon_on_the_network_is_located_by_its_address(hostname, location):
    """It is not asked, because that may need a certificate."""
    assert locate(hostname=hostname)[0] is location


def test_a_look_up_that_takes_too_long_is_silence(monkeypatch):
    """A dead name server does not delay the start."""
    monkeypatch.setattr(daemon_location, "_LOOKUP_TIMEOUT", 0.0)
    assert locate(hostname="localhost")[0] is DaemonLocation.SILENT
