"""`python -m local.demo.played_network`: the agent, without network rules that would need root.

It is the agent's own code otherwise. The rules only lead packets to the relay; here the demo's
processes ask the relay at its own address. Whose credentials a peer gets the relay decides itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sidecar.__main__ import main
from sidecar.lifecycle import credentials_route
from sidecar.relay import network_rules

if TYPE_CHECKING:
    from sidecar.relay import Relay


class PlayedRedirect(network_rules.Redirect):
    """Adds no address and no rule, and so removes none."""

    def prepare(self) -> None:
        """Do nothing."""

    async def add_rules(self, relay: Relay) -> None:
        """Do nothing."""

    async def remove_rules(self) -> None:
        """Do nothing."""


async def keep_leftovers(network_modes: frozenset[str]) -> None:
    """Do nothing: the relay's address is this machine's own here."""


if __name__ == "__main__":
    network_rules.RELAY_ADDRESS = "127.0.0.1"
    network_rules.remove_leftovers = keep_leftovers
    network_rules.obstacle = lambda network_modes: None  # noqa: ARG005
    credentials_route.Redirect = PlayedRedirect  # type: ignore[misc]
    sys.exit(main(["run"]))
