"""Check that the stop budget fits the time that ECS gives the container for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import AwsError
from sidecar.aws.instance_facts import InstanceFacts
from sidecar.aws.task_definition import read_container_definition
from sidecar.aws.task_metadata import read_container_name
from sidecar.examination.finding import Finding, failed, ok, unknown, warning
from sidecar.examination.patience import retry_empty

if TYPE_CHECKING:
    from sidecar.aws.task_metadata import TaskFacts
    from sidecar.doctor.setup import Setup

USUAL, MOST_OF_FARGATE = 30.0, 120.0
"""Seconds of a container whose definition says nothing, and what Fargate grants at most."""


async def check(setup: Setup) -> list[Finding]:
    """Compare SIDECAR_STOP_TIMEOUT with `stopTimeout` of the task definition."""
    facts = await setup.facts()
    budget = setup.settings.stop_timeout
    if isinstance(facts, InstanceFacts) or not facts.definition:
        return [ok(f"{budget:g} s; outside a task nothing tells what it must fit into")]
    if facts.launch_type == "FARGATE" and budget > MOST_OF_FARGATE:
        text = f"SIDECAR_STOP_TIMEOUT is {budget:g} s, and Fargate grants {MOST_OF_FARGATE:g} s"
        return [failed(text, f"set SIDECAR_STOP_TIMEOUT and stopTimeout to {MOST_OF_FARGATE:g}")]
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
    granted = float(described.get("stopTimeout") or USUAL)
    text = f"SIDECAR_STOP_TIMEOUT is {budget:g} s, the container's stopTimeout {granted:g} s"
    if "stopTimeout" not in described:
        text += " (ECS's default)"
    if budget > granted:
        change = f"set stopTimeout to {budget:g}, or SIDECAR_STOP_TIMEOUT to {granted:g}"
        return failed(f"{text}: ECS kills the agent before it has cleaned up", change)
    if budget < granted:
        return warning(f"{text}: jobs have less time than they could", f"set it to {granted:g}")
    return ok(text)
