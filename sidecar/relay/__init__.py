"""Serve the task role's credentials to jobs and containers, on a local address.

Nested containers cannot reach the ECS agent, which also limits how often it may be asked. The relay
asks it once per refresh, for any number of clients, and answers from memory.
"""

from sidecar.aws.container_credentials import RELATIVE_URI, Endpoint
from sidecar.relay.background import running_beside
from sidecar.relay.identities import Inspect
from sidecar.relay.refresher import Clock, Pace, State
from sidecar.relay.server import LIMITS, Imds, Relay, serving

__all__ = [
    "LIMITS",
    "RELATIVE_URI",
    "Clock",
    "Endpoint",
    "Imds",
    "Inspect",
    "Pace",
    "Relay",
    "State",
    "running_beside",
    "serving",
]
