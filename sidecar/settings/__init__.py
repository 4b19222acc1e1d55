"""The settings of the agent: `model` lists them, `load` reads them, `checks` checks them.

Light on purpose: the health check imports it every few seconds.
"""

DEFAULT_HEALTH_ADDRESS = "127.0.0.1:9190"
