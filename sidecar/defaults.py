"""Defaults of the agent that its launcher knows too. Light on purpose, as `sidecar.settings` is."""

HEALTH_ADDRESS = "127.0.0.1:9190"
STOP_TIMEOUT = 30.0
"""Seconds of the stop budget: what ECS grants a container by default."""
