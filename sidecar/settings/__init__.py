"""The settings of the agent: `model` lists them, `load` reads them, `checks` checks them.

Light on purpose: the health check imports it every few seconds.
"""

HEALTH_FILE = ".sidecar-health"
"""The file in the runner's folder that says where the agent answers, if that is another address."""
DEFAULT_RUNNER_DIRS = ("/home/runner", r"C:\actions-runner")
"""The default of SIDECAR_RUNNER_DIR on each system: the health check does not ask which this is."""
