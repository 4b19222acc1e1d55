"""A job's docker network joins nothing that the machine has: no interface, and no bridge.

On an instance, a bridge leads to the ECS agent for all tasks. Who stands on it can answer for it.
"""

from __future__ import annotations

import pytest

from sidecar.docker import strict_mode
from tests.adversary.engine_requests import find_refusal, make_strict

CREATE = "POST /v1.41/networks/create"
NAME = "com.docker.network.bridge.name"
ATTACKS = {
    "a bridge of the machine's": {"Options": {NAME: "ecs-bridge"}},
    "in another case": {"options": {NAME: "ecs-bridge"}},
    "its interface": {"Driver": "macvlan", "Options": {"parent": "eth0"}},
    "by podman": {"driver": "bridge", "network_interface": "ecs-bridge"},
    "an option of tomorrow": {"Driver": "bridge", "Options": {"com.docker.network.new": "1"}},
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_network_joins_nothing_of_the_machine(mended, attack, monkeypatch):
    """Neither by its driver nor by an option."""
    if not mended:
        monkeypatch.setattr(strict_mode, "check_network", lambda _body: None)
    refused = find_refusal(make_strict(), CREATE, {"Name": "n", **ATTACKS[attack]})
    assert (refused is not None) is mended


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Driver": "bridge", "Options": {}, "IPAM": {"Driver": "default", "Config": []}},
        {"Internal": True, "Options": {"com.docker.network.driver.mtu": "1400"}},
        {"Options": {"com.docker.network.bridge.enable_icc": "false"}, "Labels": {NAME: "x"}},
    ],
)
def test_an_ordinary_network_passes(body):
    """As the runner, compose and docker's client make them."""
    assert find_refusal(make_strict(), CREATE, {"Name": "n", **body}) is None
