"""With a real engine, AWS's addresses are no container's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import wire
from tests.engines.engine import EMPTY
from tests.engines.far import ECS_AGENT

if TYPE_CHECKING:
    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

pytestmark = [pytest.mark.docker, pytest.mark.root]


def make_network(subnet: str, gateway: str) -> dict[str, Any]:
    """Return the body of a request for a network."""
    return {"Name": "at-aws", "IPAM": {"Config": [{"Subnet": subnet, "Gateway": gateway}]}}


def test_a_network_at_link_local_addresses_is_not_made(
    place: Place, proxied_life: ProxiedLife
) -> None:
    """The engine itself makes it."""
    body = make_network("169.254.171.0/28", "169.254.171.2")
    made = wire.call(place.engine.socket, "POST", "/networks/create", body)
    place.engine.docker("network", "rm", made["Id"])
    refused = wire.send(proxied_life.socket, wire.request("POST", "/networks/create", body))
    assert refused.statuses == [403]


def test_a_network_in_the_agent_s_way_is_named(place: Place, proxied_life: ProxiedLife) -> None:
    """A job with the engine's own socket can lay it; the agent sees it by the engine's report."""
    body = make_network("169.254.170.0/28", ECS_AGENT)
    made = wire.call(place.engine.socket, "POST", "/networks/create", body)
    try:
        event = proxied_life.running.wait_for_event("network.route_changed")
        assert event["address"] == ECS_AGENT
    finally:
        place.engine.docker("network", "rm", made["Id"])


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
