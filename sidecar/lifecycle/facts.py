"""Find out who and where the agent is: a task of ECS, or a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sidecar.aws import task_metadata
from sidecar.aws.instance_facts import InstanceFacts

if TYPE_CHECKING:
    from sidecar.aws.instance_facts import Facts
    from sidecar.settings.model import Configuration

log = structlog.get_logger()


async def read_facts(config: Configuration, *, so_mark: bool) -> Facts:
    """Return what the machine's metadata said, or ask for the task's.

    `so_mark`: on an SO_MARK socket, because rules may redirect any other.
    """
    if config.machine:
        return InstanceFacts.from_metadata(config.machine)
    return await task_metadata.read_task_facts(config.task.metadata_uri, so_mark=so_mark)


def log_machine(config: Configuration) -> None:
    """Log what machine this is, if it is one; of its tags only the keys."""
    if not config.machine:
        return
    facts = InstanceFacts.from_metadata(config.machine)
    log.info(
        "machine.recognised",
        instance=facts.id,
        type=facts.type,
        image=facts.image,
        zone=facts.zone,
        life_cycle=facts.life_cycle,
        role=facts.role,
        tags=sorted(facts.tags),
    )
