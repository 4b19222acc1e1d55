"""The routing table: which interfaces belong to the task, and which peers are inside it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sidecar.relay import routes
from sidecar.relay.routes import Peers, has_network, interface_to, is_own, table, task_interfaces
from tests.support.namespace import in_namespace

in_a_namespace = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="needs network namespaces"),
]


def run_ip(*commands: str) -> None:
    """Run `ip COMMAND` for each command, in this namespace."""
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, timeout=30)


TASK = (
    "link add eth0 type veth peer name far0",
    "addr add 10.0.2.61/24 dev eth0",
    "link set eth0 up",
    "link set far0 up",
    "link add ecs-eth0 type veth peer name far1",
    "addr add 169.254.172.2/22 dev ecs-eth0",
    "link set ecs-eth0 up",
    "link set far1 up",
    "addr del 169.254.170.2/32 dev lo",
    "route add default via 10.0.2.1",
    "route add 169.254.170.2/32 dev ecs-eth0",
    "link add docker0 type bridge",
    "addr add 172.17.0.1/16 dev docker0",
    "link set docker0 up",
    "route add unreachable 10.9.0.0/16",
)


class TestATask:
    """A task with the interfaces that ECS makes, and with a daemon's bridge."""

    pytestmark = in_a_namespace

    def test_the_interfaces_that_lead_out_belong_to_the_task(self):
        """They have a gateway, or lead to the ECS agent; a daemon's bridge does neither."""

        async def play():
            run_ip(*TASK)
            assert task_interfaces() == ("ecs-eth0", "eth0")
            assert interface_to("172.17.3.4") == "docker0"
            assert interface_to("10.0.2.7") == "eth0"
            assert interface_to("198.51.100.1") == "eth0"
            assert "*" not in {route.interface for route in table()}
            assert has_network("docker0", "172.17.0.0/16")
            assert not has_network("docker0", "172.17.0.0/24")
            assert not has_network("eth0", "172.17.0.0/16")
            assert not has_network("docker0", "fd00::/64")

        in_namespace(play())

    def test_peers_inside_the_task_may_ask(self):
        """The namespace itself and its daemon's containers; no neighbour, no unknown address."""

        async def play():
            run_ip(*TASK)
            may = Peers(task_interfaces())
            for peer in ("127.0.0.1", "10.0.2.61", "172.17.0.1", "172.17.0.9", "::1"):
                assert may(peer), peer
            for peer in ("10.0.2.7", "169.254.172.1", "198.51.100.1", "fd00::7", "nonsense"):
                assert not may(peer), peer
            run_ip("route del default", "link add br-later type bridge")
            assert not may("172.30.0.9")
            run_ip("addr add 172.30.0.1/16 dev br-later", "link set br-later up")
            assert may("172.30.0.9")

        in_namespace(play())

    def test_own_addresses_are_found_without_a_packet(self):
        """On any interface."""

        async def play():
            run_ip(*TASK)
            assert is_own("10.0.2.61")
            assert is_own("127.0.0.1")
            assert not is_own("10.0.2.62")
            assert not is_own("not an address")

        in_namespace(play())


def test_without_a_routing_table_there_are_no_routes(monkeypatch, tmp_path):
    """As on a system without /proc."""
    monkeypatch.setattr(routes, "_TABLE", tmp_path / "none")
    assert table() == []
    assert task_interfaces() == ()
    assert interface_to("10.0.0.1") is None
    assert not has_network("docker0", "172.17.0.0/16")
