"""Check where this is: in a task of ECS, on a machine of EC2, or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.instance_facts import InstanceFacts
from sidecar.examination.finding import Finding, ok, warning

if TYPE_CHECKING:
    from sidecar.aws.task_metadata import TaskFacts
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Say where this is, as the metadata have it."""
    facts = await setup.facts()
    if isinstance(facts, InstanceFacts):
        known = filter(None, (facts.type, facts.zone, facts.life_cycle))
        return [ok(f"the machine {facts.id} of EC2 ({', '.join(known)})")]
    if setup.config.task.metadata_uri is None:
        return [ok("neither a task of ECS nor a machine of EC2")]
    if not facts.arn:
        text = "ECS's task metadata do not answer (ECS_CONTAINER_METADATA_URI_V4)"
        change = "leave the variable as ECS sets it; without an answer there are no network rules"
        return [warning(text, change)]
    return [ok(f"the task {facts.arn} of ECS ({_describe(facts)})")]


def _describe(facts: TaskFacts) -> str:
    modes = " and ".join(sorted(facts.network_modes))
    return ", ".join(filter(None, (facts.launch_type, facts.zone, f"network mode {modes}")))
