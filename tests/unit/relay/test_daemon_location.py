"""Where the docker daemon runs, as its networks or its address show it."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from sidecar.relay import daemon_location, routes
from sidecar.relay.daemon_location import Bridge, DaemonLocation, bridges, locate_daemon


class FakeDaemon:
    """A daemon on a hostname, or behind a socket with these networks; None: it does not answer."""

    def __init__(self, networks=None, hostname=None, *, socket=None, podman=False) -> None:
        self.hostname = hostname
        self.socket = socket
        self._networks = networks
        self._podman = podman

    async def makes_bridges_late(self):
        """Return whether it is podman."""
        return self._podman

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


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's list of sockets")
@pytest.mark.parametrize(
    ("networks", "podman", "location"),
    [
        ([bridge("podman0", "192.0.2.1")], True, DaemonLocation.HERE),
        ([], True, DaemonLocation.HERE),
        ([], False, DaemonLocation.HERE),
        ([bridge("docker0", "192.0.2.1")], False, DaemonLocation.ELSEWHERE),
    ],
    ids=["podman", "podman without a network", "docker without a bridge", "docker"],
)
def test_before_its_first_bridge_a_daemon_is_located_by_its_socket(
    tmp_path, monkeypatch, networks, podman, location
):
    """Podman makes a bridge with its first container. Docker's are up when it answers."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("podman.sock")
        silent = FakeDaemon(networks, socket=tmp_path / "podman.sock", podman=podman)
        assert asyncio.run(locate_daemon(silent))[0] is DaemonLocation.ELSEWHERE
        listener.listen()
        (tmp_path / "link").symlink_to("podman.sock")
        for path in (tmp_path / "podman.sock", tmp_path / "link"):
            daemon = FakeDaemon(networks, socket=path, podman=podman)
            assert asyncio.run(locate_daemon(daemon))[0] is location
        monkeypatch.setattr(routes, "_SOCKETS", tmp_path / "none")
        assert asyncio.run(locate_daemon(daemon))[0] is DaemonLocation.ELSEWHERE


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
