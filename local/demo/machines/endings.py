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
"""Seconds for the boot of a machine that hangs; no pool takes less."""
HUNG = "ended by the launcher"


@dataclass(frozen=True)
class Ending:
    """One ending of a job's launch."""

    title: str
    machines: tuple[str, ...] = (DONE,)
    """The ends of its machines, in order; on a slow computer several may end in the same way."""
    refused: int = 0
    """The number of requests for a machine that were refused."""
    agents: tuple[str, ...] = ()
    """Scripts that the first machines have in place of the agent."""
    seconds: int = 0
    """Seconds that it takes longer than the others."""
    boot_limit: int = 0
    """Seconds that a machine has for its boot, which this one takes; 0: as a pool has it."""


ENDINGS = {
    "": Ending("A queued job becomes a machine, which ends with it"),
    "no-capacity": Ending(
        "A queued job waits until EC2 has room for a machine",
        refused=2,  # spot and on demand; then the next round begins with spot
        seconds=15,
    ),
    "hang": Ending(
        "A queued job's first machine never registers a runner",
        machines=(HUNG, DONE),
        agents=(HANGS,),
        seconds=BOOT_SECONDS,
        boot_limit=BOOT_SECONDS,
    ),
}
