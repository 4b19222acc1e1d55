"""What happened and what is left, asked from outside, and compared with what should be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from rich.table import Table

from local import aws
from local.demo import leftovers
from local.demo.endings import NO_JOB
from local.demo.stage import PAT, REPOSITORY
from local.demo.watching import WHY, said_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from local.demo.agent import Agent
    from local.demo.endings import Ending
    from local.demo.nested import Container
    from local.demo.stage import Stage
    from local.github.jobs import Job

NOTHING = "nothing"


@dataclass(frozen=True)
class Check:
    """One thing to be verified; `left` ones are about what remains."""

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
class Played:
    """What is known when the agent has ended."""

    ending: Ending
    exit_code: int
    token: str
    still_listening: bool
    """Whether the runner's program still listened when GitHub forgot the runner."""


async def verified(stage: Stage, agent: Agent, container: Container, played: Played) -> list[Check]:
    """Look at everything, while the stand-ins still stand."""
    left = [
        ("parameters in SSM", await asyncio.to_thread(aws.names, stage.aws)),
        ("runners at GitHub", await _runners(stage)),
        ("processes", list(leftovers.processes(str(stage.folder)).values())),
        ("the runner's credentials on disk", _files(stage)),
    ]
    return [
        *_happened(stage, agent, container, played),
        *(Check(what, NOTHING, listed(found), left=True) for what, found in left),
    ]


def table(checks: Iterable[Check]) -> Table:
    """Draw what was checked: first what happened, then what is left."""
    drawn = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    drawn.add_row("[bold]What happened[/]")
    before = False
    for check in checks:
        if check.left and not before:
            drawn.add_row()
            drawn.add_row("[bold]What is left[/]")
        before = check.left
        seen = f"[green]{check.seen}[/]"
        if not check.holds:
            seen = f"[red]{check.seen}[/] [bold red](should be: {check.wanted})[/]"
        drawn.add_row(f"  {check.what}", seen)
    return drawn


def show(checks: Iterable[Check], console: Console) -> None:
    """Print the table."""
    console.print()
    console.print(table(checks))
    console.print()


def _happened(stage: Stage, agent: Agent, container: Container, played: Played) -> Iterator[Check]:
    ending = played.ending
    jobs = list(stage.github.world.jobs)
    removed = [WHY.get(each.by, each.by) for each in stage.github.world.runners.removed]
    outcome = agent.said.get("life.ended", {}).get("outcome", "it did not say why")
    wanted = f"{ending.exit_code} ({ending.outcome})"
    yield Check("the agent's exit code", wanted, f"{played.exit_code} ({outcome})")
    results = ", ".join(each.result or each.state for each in jobs)
    yield Check("the job's result", ending.job_result, results or NO_JOB)
    if ending.steps:
        yield Check("the job's steps ran as", stage.user, _user(jobs))
        yield Check("to AWS the nested container is", stage.ecs.task.identity, container.arn)
    if ending.misbehaves.get("run"):
        ended = agent.said.get("runner.ended", {}).get("code", "never")
        yield Check("the runner's program", "died of SIGABRT", _death(ended))
    yield Check("the runner was taken off GitHub", WHY[ending.removed_by], listed(removed))
    if ending.stop_when == "idle":
        when = "no job could come any more" if played.still_listening else "its program had ended"
        yield Check("it was still listening, so that", "no job could come any more", when)
    shown = played.token in "\n".join([*agent.lines, *(job.log() for job in jobs)])
    yield Check("the token in a log, or seen by the job", "never", "yes" if shown else "never")


async def _runners(stage: Stage) -> list[str]:
    """Ask as anybody with an access token would."""
    url = f"{stage.github.api}/repos/{REPOSITORY}/actions/runners"
    headers = {"Authorization": f"Bearer {PAT}", "Accept": "application/vnd.github+json"}
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(url, headers=headers) as answer,
    ):
        return [str(each["name"]) for each in (await answer.json())["runners"]]


def _files(stage: Stage) -> list[str]:
    names = (".runner", ".credentials", ".credentials_rsaparams")
    return [name for name in names if (stage.runner / name).exists()]


def _user(jobs: list[Job]) -> str:
    said = [said_by(step) for job in jobs for step in job.steps]
    return listed(each.removeprefix("I am ") for each in said if each)


def _death(code: object) -> str:
    return "died of SIGABRT" if code in (-6, 134) else f"ended with {code}"


def listed(found: Iterable[str]) -> str:
    """Write what was found as one text."""
    return ", ".join(found) or NOTHING
