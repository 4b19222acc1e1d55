"""Check that the stop budget fits the time that ECS gives the container for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import AwsError
from sidecar.aws.instance_facts import InstanceFacts
from sidecar.aws.task_definition import read_container_definition
from sidecar.aws.task_metadata import read_container_name
from sidecar.examination.finding import Finding, ok, unknown
from sidecar.examination.patience import retry_empty
from sidecar.examination.stop import judge_budget, judge_fargate

if TYPE_CHECKING:
    from sidecar.aws.task_metadata import TaskFacts
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Compare SIDECAR_STOP_TIMEOUT with `stopTimeout` of the task definition."""
    facts = await setup.facts()
    budget = setup.settings.stop_timeout
    if isinstance(facts, InstanceFacts) or not facts.definition:
        return [ok(f"{budget:g} s; outside a task nothing tells what it must fit into")]
    if facts.launch_type == "FARGATE" and (found := judge_fargate(budget)):
        return [found]
    return [await _compare(setup, facts, budget)]


async def _compare(setup: Setup, facts: TaskFacts, budget: float) -> Finding:
    task, so_mark = setup.config.task, setup.access.so_mark
    container = await retry_empty(
        lambda: read_container_name(task.metadata_uri or "", so_mark=so_mark)
    )
    try:
        described = await setup.call_aws(
            lambda seconds: read_container_definition(
                facts.definition, container, task.region, setup.session, seconds
            )
        )
    except AwsError as error:
        change = "set stopTimeout in the task definition to what SIDECAR_STOP_TIMEOUT says"
        return unknown(f"{budget:g} s; not compared: {error}", change)
    if not described:
        text = f"{budget:g} s; {facts.definition} has no container {container or 'of this name'}"
        return unknown(text, "compare SIDECAR_STOP_TIMEOUT with its stopTimeout")
    return judge_budget(budget, described.get("stopTimeout"))
