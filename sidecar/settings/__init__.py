"""The settings of the agent: what they are, how they are read and how they are checked.

Light on purpose: the health check imports it every few seconds.
"""

DEFAULT_HEALTH_ADDRESS = "127.0.0.1:9190"
