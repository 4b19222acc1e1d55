"""Put the entries of all sources in order, and find the first line that failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher import identity
from launcher.explain.entries import Entry, Mark, Source, clean
from launcher.explain.sources import (
    agent,
    deliveries,
    jobs,
    machines,
    pools,
    queue,
    record,
    runners,
    tasks,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.explain.case import Case, Job

IMPLIED = ("it stopped:", "the agent ended:", "went wrong:", "nothing more is started")
"""How lines begin that only repeat what another source tells closer to its cause."""
PLACES = (Source.ECS, Source.EC2)
STOPPED = "UserInitiated"
"""ECS's code for a task that somebody stopped; that is the launcher, mostly."""
NO_TASK = "cannot start a"
"""What a mishap says that came before there was any task or machine."""


@dataclass(frozen=True, slots=True)
class Story:
    """The story of a job."""

    subject: str
    state: str
    """How it is now, in one sentence."""
    cause: Entry | None
    """The first line that failed, of what still keeps the job from its end."""
    entries: tuple[Entry, ...]
    """In the order of time."""
    unseen: tuple[Entry, ...]
    is_known: bool = True
    """Whether any source knows of it."""


def judge(case: Case) -> Story:
    """Make the story of a case."""
    told = [*_tell_all(case)]
    gone = [entry for entry in told if entry.mark is Mark.UNSEEN]
    entries = [entry for entry in told if entry.mark is not Mark.UNSEEN]
    entries.sort(key=lambda entry: entry.place)  # a stable sort: causes come before effects
    unseen = (*case.unseen, *dict.fromkeys(gone))
    state = describe_state(case)
    known = bool(case.job or case.launch or any(home.described for home in case.homes))
    known = known or case.runner is not None or any(home.events for home in case.homes)
    return Story(
        describe_subject(case), state, find_cause(case, entries), tuple(entries), unseen, known
    )


def _tell_all(case: Case) -> Iterator[Entry]:
    """Yield the entries of all sources; of two at the same moment the earlier part comes first."""
    yield from jobs.tell(case)
    yield from deliveries.tell(case)
    yield from pools.tell(case)
    yield from queue.tell(case)
    yield from record.tell(case)
    yield from agent.tell_launcher(case)
    for home in case.homes:
        if identity.is_machine(home.place):
            yield from machines.tell(case, home)
        elif home.place:
            yield from tasks.tell(case, home)
        yield from token.tell(case, home)
        yield from agent.tell(case, home)
    yield from runners.tell(case)
    yield from case.refused
    yield from _tell_others_runner(case)


def _tell_others_runner(case: Case) -> Iterator[Entry]:
    """Yield that the job runs on another runner than its launch's own."""
    job, launch = case.job, case.launch
    if job is None or launch is None or job.runner_name is None or launch.runner_name is None:
        return
    if job.runner_name != launch.runner_name and not launch.served:
        text = f"it has another runner than its own: {clean(job.runner_name, 100)}"
        yield Entry(Source.GITHUB, text, job.started_at)


# --- the cause --------------------------------------------------------------------------------


def find_cause(case: Case, entries: list[Entry]) -> Entry | None:
    """Find the first line that failed; None where all is well, or was in the end.

    What went wrong before the job got its runner is no cause any more once it has one. A line that
    only repeats what a source closer to the cause tells as well gives way to that one.
    """
    failed = [entry for entry in entries if entry.mark is Mark.FAILED]
    job = case.job
    if job is not None and job.began:
        if job.conclusion in ("success", "skipped", "neutral"):
            return None
        if not job.ended:
            failed = _list_lost(case, job, failed)
        began = job.started_at or 0.0
        failed = [entry for entry in failed if entry.place >= began]
    elif job is not None and job.conclusion == "cancelled":
        failed = [entry for entry in failed if entry.source is Source.GITHUB] or failed
    elif job is None and case.launch is not None and case.launch.served:
        return None
    if not failed:
        return None
    first = failed[0]
    return _find_closer(first, failed) if _is_implied(first) else first


def _list_lost(case: Case, job: Job, failed: list[Entry]) -> list[Entry]:
    """List why a job that is in progress will never end: what it ran on is gone."""
    name = case.launch.runner_name if case.launch is not None else case.runner_name
    if name is None or job.runner_name != name:
        return []
    return [entry for entry in failed if entry.source in (*PLACES, Source.GITHUB)]


def _find_closer(first: Entry, failed: list[Entry]) -> Entry:
    """Return the line that tells the same closer to its cause; else the first one.

    The agent knows best why it ended, then ECS or EC2; the record only repeats what they said. Why
    the launcher itself has stopped a task the record knows best.
    """
    if NO_TASK in first.text:
        return first
    own = [entry for entry in failed if not first.task or entry.task == first.task]
    agents = (each for each in own if each.source is Source.AGENT and not _is_implied(each))
    places = (each for each in own if each.source in PLACES and STOPPED not in each.text)
    return next(agents, None) or next(places, None) or first


def _is_implied(entry: Entry) -> bool:
    return entry.text.startswith(IMPLIED)


# --- how it is now ------------------------------------------------------------------------------


def describe_subject(case: Case) -> str:
    """Say what the story is about."""
    job = case.job
    if job is not None:
        return f'job {job.id} "{job.name}" of {job.repository}'
    if case.demand is not None and case.demand.job_id:
        return f"job {case.demand.job_id} of {case.demand.repository}"
    if case.demand is not None:
        kind = "ordered" if case.demand.order is not None else "warm"
        return f"{kind} runner of {case.demand.repository}"
    return f"{case.target.kind} {case.target.name}"


def describe_state(case: Case) -> str:
    """Say how it is now."""
    job = case.job
    if job is None:
        return _describe_launch(case)
    if job.ended:
        on = f" on {clean(job.runner_name, 100)}" if job.runner_name else ", without a runner"
        return f"completed: {job.conclusion}{on}"
    if job.status == "in_progress":
        return f"in progress on {clean(job.runner_name or 'a runner', 100)}"
    if job.status in jobs.WAITS:
        return f"{job.status}: {jobs.WAITS[job.status]}"
    return f"queued; {_describe_launch(case)}"


def _describe_launch(case: Case) -> str:
    launch = case.launch
    if launch is None:
        home = case.homes[-1] if case.homes else None
        if home is not None and home.described is not None:
            status = home.described.get("lastStatus") or home.described["State"]["Name"]
            return f"the {case.target.kind} is {status}; no launch of it is known"
        return (
            "no launch of it is known" if case.is_record_asked else "nothing is known of a launch"
        )
    if launch.served:
        return "its runner got the job" + (", and all is cleaned up" if launch.ended else "")
    if launch.given_up is not None:
        return f"nothing more is started for it: {clean(launch.given_up, 120)}"
    if launch.place is None:
        return f"try {launch.tries}: no task or machine yet"
    if case.runner is not None and case.runner.online:
        return "its runner is online"
    if launch.handed_over:
        return "its task has its token; its runner is not online yet"
    return "its task was started; its token is not handed over yet"
