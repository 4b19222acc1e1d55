"""Compare what happened, and what is left, with what should be; all of it seen from outside."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from local import aws, leftovers
from local.agent import runner_user
from local.demo.endings import NO_JOB
from local.demo.watching import REASONS, find_answer
from local.stage import REPOSITORY, list_runners

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from local.agent import AgentProcess
    from local.demo.endings import Ending
    from local.demo.nested import Container
    from local.github.jobs import Job
    from local.stage import Stage

NOTHING = "nothing"


@dataclass(frozen=True)
class Check:
    """One thing that is verified; with `left` it is about what remains."""

    what: str
    wanted: str
    seen: str
    left: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is as it should be."""
        return self.seen == self.wanted

    def __str__(self) -> str:
        return f"{self.what}: {self.seen} instead of {self.wanted}"


@dataclass(frozen=True)
class Facts:
    """The facts that are known when the agent has ended."""

    ending: Ending
    exit_code: int
    token: str
    still_listening: bool
    """Whether the runner's program still listened when GitHub removed the runner."""


async def verify(
    stage: Stage, agent: AgentProcess, container: Container, facts: Facts
) -> list[Check]:
    """Check everything, while the stand-ins still run."""
    left = [
        ("parameters in SSM", await asyncio.to_thread(aws.names, stage.moto)),
        ("runners at GitHub", await list_runners(stage.github.api, REPOSITORY)),
        ("processes", list(leftovers.find(stage.folder).values())),
        ("the runner's credentials on disk", _find_credentials(stage)),
    ]
    return [
        *_check_events(stage, agent, container, facts),
        *(Check(what, NOTHING, list_all(found), left=True) for what, found in left),
    ]


def table(checks: Iterable[Check]) -> Table:
    """Return a table of what was checked: first what happened, then what is left."""
    rows = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("[bold]What happened[/]")
    before = False
    for check in checks:
        if check.left and not before:
            rows.add_row()
            rows.add_row("[bold]What is left[/]")
        before = check.left
        seen = f"[green]{check.seen}[/]"
        if not check.holds:
            seen = f"[red]{check.seen}[/] [bold red](should be: {check.wanted})[/]"
        rows.add_row(f"  {check.what}", seen)
    return rows


def show(checks: Iterable[Check], console: Console) -> None:
    """Print the table."""
    console.print()
    console.print(table(checks))
    console.print()


def _check_events(
    stage: Stage, agent: AgentProcess, container: Container, facts: Facts
) -> Iterator[Check]:
    ending = facts.ending
    jobs = list(stage.github.world.jobs)
    removed = [REASONS.get(each.by, each.by) for each in stage.github.world.runners.removed]
    outcome = agent.last_event("life.ended").get("outcome", "no reason was logged")
    wanted = f"{ending.exit_code} ({ending.outcome})"
    yield Check("the agent's exit code", wanted, f"{facts.exit_code} ({outcome})")
    results = ", ".join(each.result or each.state for each in jobs)
    yield Check("the job's result", ending.job_result, results or NO_JOB)
    if ending.steps:
        yield Check("the job's steps ran as", runner_user(), _find_users(jobs))
        yield Check("to AWS the nested container is", stage.ecs.task.identity, container.arn)
    if ending.misbehaves.get("run"):
        ended = agent.last_event("runner.ended").get("code", "never")
        yield Check("the runner's program", "died of SIGABRT", _describe_end(ended))
    yield Check("the runner was taken off GitHub", REASONS[ending.removed_by], list_all(removed))
    if ending.stop_when == "idle":
        when = "no job could come any more" if facts.still_listening else "its program had ended"
        yield Check("it was still listening, so that", "no job could come any more", when)
    shown = facts.token in "\n".join([agent.transcript(), *(job.log() for job in jobs)])
    yield Check("the token in a log, or seen by the job", "never", "yes" if shown else "never")


def _find_credentials(stage: Stage) -> list[str]:
    names = (".runner", ".credentials", ".credentials_rsaparams")
    return [name for name in names if (stage.runner_folder / name).exists()]


def _find_users(jobs: list[Job]) -> str:
    answers = [find_answer(step) for job in jobs for step in job.steps]
    return list_all(each.removeprefix("I am ") for each in answers if each)


def _describe_end(code: object) -> str:
    return "died of SIGABRT" if code in (-6, 134) else f"ended with {code}"


def list_all(found: Iterable[str]) -> str:
    """Return what was found as one text; "nothing" if nothing was."""
    return ", ".join(found) or NOTHING
