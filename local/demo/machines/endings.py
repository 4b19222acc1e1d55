"""The endings that `make demo LAUNCH=ec2 END=…` can show, and what must be true after each."""

from __future__ import annotations

from dataclasses import dataclass

API = "A job has a machine started by the API, in another account, and another job runs on it"
"""The title of LAUNCH=api."""
HANGS = """\
#!/bin/sh
echo "runner-sidecar: waits for a disk that never comes"
exec sleep 3600
"""
"""An agent that never registers a runner."""
DONE = "exit code 0"
BOOT_SECONDS = 30
"""Seconds for the boot of a machine; no pool takes less."""


@dataclass(frozen=True)
class Ending:
    """One ending of a job's launch."""

    title: str
    machines: tuple[str, ...] = (DONE,)
    """How its machines ended, in order."""
    requests: int = 1
    """How often EC2 was asked to run a machine."""
    agents: tuple[str, ...] = ()
    """Scripts that the first machines have in place of the agent."""
    seconds: int = 0
    """Seconds that it takes longer than the others."""


ENDINGS = {
    "": Ending("A queued job becomes a machine, which ends with it"),
    "no-capacity": Ending(
        "A queued job waits until EC2 has room for a machine",
        requests=3,  # spot and on demand are refused; then spot again, in the next round
    ),
    "hang": Ending(
        "A queued job's first machine never registers a runner",
        machines=("ended by the launcher", DONE),
        requests=2,
        agents=(HANGS,),
        seconds=BOOT_SECONDS,
    ),
}
