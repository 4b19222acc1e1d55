"""Compare what happened to machines, and what is left, with what should be; from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from local import leftovers
from local.agent import runner_user
from local.demo.launch import verdict
from local.demo.machines.endings import HUNG
from local.demo.verdict import NOTHING, Check, list_all
from local.demo.watching import REASONS, find_answer
from local.ec2.machines import ENDED_BY_USER, SHUT_DOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.demo.machines.endings import Ending
    from local.demo.machines.stage import MachineStage
    from local.ec2 import Machine
    from local.github.jobs import Job

ENDED = re.compile(r"the agent has ended with (exit code \d+)")


async def check_left(stage: MachineStage) -> list[Check]:
    """Check that nothing is left, while the stand-ins still run."""
    machines = [each.id for each in stage.ec2.living()]
    processes = [
        text
        for each in stage.ec2.machines
        for text in leftovers.find(stage.folder / each.id).values()
    ]
    return [
        Check("machines in EC2", NOTHING, list_all(machines), left=True),
        Check("processes of machines", NOTHING, list_all(processes), left=True),
        *await verdict.check_left(stage),
    ]


def verify(stage: MachineStage, ending: Ending) -> Iterator[Check]:
    """Check what has happened to the one job that was queued."""
    (job,) = stage.github.world.jobs
    yield from check_job(stage, job)
    ended = dict.fromkeys(describe_end(each) for each in stage.ec2.machines)
    yield Check("its machines ended", list_all(ending.machines), list_all(ended))
    refused = len(stage.ec2.asked("RunInstances", once=True)) - len(stage.ec2.machines)
    yield Check("EC2 had no room for a machine", f"{ending.refused} x", f"{refused} x")
    yield Check("the webhook answered", "each delivery with 202", verdict.find_answers(stage))
    yield check_secrets(stage)


def check_job(stage: MachineStage, job: Job) -> Iterator[Check]:
    """Check a job, who ran it, and what its machine knew of itself."""
    yield Check("the job's result", "succeeded", job.result or job.state)
    users = {find_answer(step).removeprefix("I am ") for step in job.steps}
    yield Check("the job's steps ran as", runner_user(), list_all(sorted(users)))
    last = stage.ec2.machines[-1]
    yield Check("the job's log names the machine", last.id, _find_instance(job))
    yield Check("its metadata were asked", "by IMDSv2 alone", _find_manner(stage, last))
    gone = [each.by for each in stage.github.world.runners.removed if each.name == job.runner_name]
    removed = list_all(REASONS.get(each, each) for each in gone)
    yield Check("the runner was taken off GitHub", REASONS["job-completed"], removed)


def describe_end(machine: Machine) -> str:
    """Say how a machine has ended: its agent's exit code, or who ended it."""
    if machine.reason != SHUT_DOWN:
        return HUNG if machine.reason == ENDED_BY_USER else machine.state
    found = ENDED.search(machine.console)
    return found[1] if found else "powered off without a word"


def check_secrets(stage: MachineStage) -> Check:
    """Check that no secret is in what EC2 was told, on a console, or in a log."""
    texts = [repr(stage.ec2.requests), *(each.console for each in stage.ec2.machines)]
    whole = "\n".join(texts)
    found = any(secret in whole for secret in stage.find_secrets())
    seen = "yes" if found else verdict.find_secrets(stage)
    return Check("a secret in user data, a console, a log", "never", seen)


def _find_instance(job: Job) -> str:
    return list_all(dict.fromkeys(re.findall(r"\bInstance: (i-[0-9a-f]+)", job.log())))


def _find_manner(stage: MachineStage, machine: Machine) -> str:
    booted = stage.machines.booted[machine.id]
    tokens = booted.metadata.count_requests("/latest/api/token")
    strict = booted.metadata.instance.token_required
    return "by IMDSv2 alone" if tokens and strict else f"{tokens} tokens, required: {strict}"
