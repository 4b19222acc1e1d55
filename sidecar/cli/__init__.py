"""The commands of `runner-sidecar`: each is a file of this folder with a function `main`.

Light on purpose: the health check imports it every few seconds.
"""

COMMANDS = {
    "run": "run one runner for one job, from the token to the cleanup; or a command after --",
    "health": "exit 0 if the agent of this container is healthy, 1 if not",
    "containers": "list the containers of the job, with the rule and the role of each",
    "doctor": "examine this set-up: what is right, what is wrong, what to change",
    "roles": "explain which role a job gets by SIDECAR_ROLES, or write the roles' trust policies",
    "version": "print the agent's version",
}
"""Every command, and what it does in one line. `COMMAND --help` tells more."""


def usage() -> str:
    """Write what `runner-sidecar --help` prints."""
    lines = [f"  {name:<12}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        (
            "usage: runner-sidecar COMMAND [...]",
            "",
            *lines,
            "",
            "runner-sidecar COMMAND --help tells more.",
            "",
        )
    )
