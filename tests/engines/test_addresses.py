"""With a real engine, what an address may do ends when its container leaves the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.test_proxied import URI, run_life

if TYPE_CHECKING:
    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root]


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
        docker.wait_for_status(two, path, "403")
        docker.wait_for_status(one, path, "200")
        docker.wait_for_status(two, docker.environment(two)[URI], "200")
        docker("rm", "--force", one, two)
        docker("network", "rm", "moving")
