"""Start the agent without the network rules, for which it would have to be root.

The rules only lead packets to the relay; the demo's processes ask the relay at its own address
instead. The program is the agent's own otherwise. It is a text, because the stand-ins do not
import the agent: only the agent's process runs it.
"""

from __future__ import annotations

import sys

_PROGRAM = """
import sys
from sidecar.__main__ import main
from sidecar.lifecycle import credentials_route
from sidecar.relay import network_rules

class PlayedRedirect(network_rules.Redirect):
    def prepare(self):
        pass
    async def add_rules(self, relay):
        pass
    async def remove_rules(self):
        pass

async def remove_nothing(network_modes):
    pass

network_rules.RELAY_ADDRESS = "127.0.0.1"
network_rules.obstacle = lambda network_modes: None
network_rules.remove_leftovers = remove_nothing  # or it would take this address from the machine
credentials_route.Redirect = PlayedRedirect
sys.exit(main(["run"]))
"""

COMMAND = (sys.executable, "-c", _PROGRAM)
"""Starts it."""
