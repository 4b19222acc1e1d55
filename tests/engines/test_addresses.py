"""With a real engine, an address is only that container's which has it, and AWS's are nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import wire
from tests.engines.engine import EMPTY
from tests.engines.test_proxied import URI, run_life

if TYPE_CHECKING:
    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]

AT_AWS = {
    "Name": "at-aws",
    "IPAM": {"Config": [{"Subnet": "169.254.171.0/28", "Gateway": "169.254.171.2"}]},
}
"""Beside the ECS agent's own address, which is not to be disturbed here."""


def test_a_network_at_link_local_addresses_is_not_made(
    place: Place, proxied_life: ProxiedLife
) -> None:
    """The engine itself makes it."""
    made = wire.call(place.engine.socket, "POST", "/networks/create", AT_AWS)
    wire.call(place.engine.socket, "DELETE", f"/networks/{made['Id']}")
    refused = wire.send(proxied_life.socket, wire.request("POST", "/networks/create", AT_AWS))
    assert refused.statuses == [403]


def test_a_port_at_a_link_local_address_is_not_published(
    place: Place, proxied_life: ProxiedLife
) -> None:
    """The engine itself makes such a container."""
    ports = {"80/tcp": [{"HostIp": "169.254.170.2", "HostPort": "80"}]}
    body = {"Image": EMPTY, "Cmd": ["true"], "HostConfig": {"PortBindings": ports}}
    request = wire.request("POST", "/containers/create", body)
    (container,) = wire.send(place.engine.socket, request).created
    wire.call(place.engine.socket, "DELETE", f"/containers/{container}?v=1&force=1")
    refused = wire.send(proxied_life.socket, request)
    assert (refused.statuses, refused.created) == ([403], [])


def test_a_container_that_leaves_a_network_leaves_its_address(place: Place) -> None:
    """The next container gets the address, and nothing by the path of the first; that one does."""
    with run_life(place) as (docker, _):
        docker("network", "create", "moving")
        one = docker.start()
        docker("network", "connect", "moving", one)
        path = docker.environment(one)[URI]
        shown = "{{.NetworkSettings.Networks.moving.IPAddress}}"
        address = docker("inspect", "--format", shown, one)
        assert docker.status(one, path) == "200"
        docker("network", "disconnect", "moving", one)
        two = docker.start("--network", "moving")
        assert docker("inspect", "--format", shown, two) == address
        assert docker.status(two, path) == "403"
        assert docker.status(one, path) == "200"
        assert docker.status(two, docker.environment(two)[URI]) == "200"
        docker("rm", "--force", one, two)
        docker("network", "rm", "moving")
