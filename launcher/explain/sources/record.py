"""Tell what the launch's record in DynamoDB says: each step that was written down."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.explain import causes
from launcher.explain.case import Home
from launcher.explain.entries import Entry, Mark, Source, clean, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.explain.case import Case
    from launcher.record.launch import Launch
    from launcher.record.ledger import Ledger
    from launcher.record.records import Records

PLANNED = ("another job took", "its job was approved", "the pool ")
STOLEN = "another job took"
OVER = re.compile(r"its job is (in_progress|completed)")


async def read_launch(records: Records, id_: str) -> Launch | None:
    """Read a launch. Raises AwsError."""
    return await records.read(id_)


async def read_launch_of(records: Records, task: str) -> Launch | None:
    """Read the launch that a task or machine, by its id, belongs to. Raises AwsError."""
    found = await records.find(task)
    return await records.read(found) if found is not None else None


def find_by_job(ledger: Ledger, job: int) -> Launch | None:
    """Find the newest launch of a job by the job's number alone."""
    found = [
        entry
        for entry in ledger.entries.values()
        if (demand := read_demand(entry.launch)) is not None and demand.job_id == job
    ]
    return max(found, key=lambda entry: entry.written).launch if found else None


def find_earlier(ledger: Ledger, launch: Launch) -> list[str]:
    """List the tasks and machines that a launch had before, by their ids."""
    now = identity.task_id(launch.place) if launch.place is not None else None
    return [task for task, owner in ledger.tasks.items() if owner == launch.id and task != now]


def read_demand(launch: Launch) -> Demand | None:
    """Read the demand that a launch was made for; None where it has none that is understood."""
    try:
        return Demand.from_json(launch.demand)
    except ValueError:
        return None


def tell(case: Case) -> Iterator[Entry]:
    """Yield what was written down."""
    launch = case.launch
    if launch is None:
        yield from _tell_missing(case)
        return
    begun = launch.first_seen
    text = f"launch {launch.id[:12]}: admitted to the pool {launch.pool or '(of no pool)'}"
    yield Entry(Source.RECORD, text, begun or None, Mark.DONE, after=case.began)
    for reason in launch.reasons:
        yield _tell_reason(reason, begun)
    yield from _tell_placing(case, launch)
    yield from _tell_token(launch)
    yield from _tell_end(case, launch)


def _tell_missing(case: Case) -> Iterator[Entry]:
    job = case.job
    if not case.is_record_asked or job is None or job.began or job.ended:
        return
    taken = [each for each in case.attempts or [] if each.is_ok and each.action == "queued"]
    if not taken or case.unserved or case.refusals or job.status != "queued":
        return
    at = taken[-1].at
    text = "the webhook has taken the job, and no worker has written a record of it yet"
    late = at is not None and case.now - at > causes.WORKER_LATE
    advice = "look whether a worker runs, reads this queue, and may read GitHub's run (its log)"
    mark = Mark.FAILED if late else Mark.WAITS
    yield Entry(Source.RECORD, text, None, mark, advice if late else "", after=at)


def _tell_reason(reason: str, after: float) -> Entry:
    """Tell one mishap. The record does not say when it was."""
    text = clean(reason)
    if reason.startswith(STOLEN):
        advice = "more jobs with these labels wait than runners were asked for, or they overlap"
        return Entry(Source.RECORD, text, None, Mark.FAILED, advice, after=after)
    if reason.startswith(PLANNED):
        return Entry(Source.RECORD, text, None, after=after)
    if OVER.match(reason):
        return Entry(Source.RECORD, text, None, after=after)
    cause = causes.explain(reason)
    if not cause and not causes.is_failure(causes.read_code(reason)):
        return Entry(Source.RECORD, text, None, after=after)  # its runner ran another job
    return Entry(Source.RECORD, f"went wrong: {text}", None, Mark.FAILED, cause, after=after)


def _tell_placing(case: Case, launch: Launch) -> Iterator[Entry]:
    tried = f"try {launch.tries}"
    if launch.place is not None:
        what = "machine" if identity.is_machine(launch.place) else "task"
        text = f"{tried}: the {what} {identity.task_id(launch.place)} was started"
        yield Entry(
            Source.RECORD,
            text,
            launch.placed_at or None,
            Mark.DONE,
            after=launch.first_seen,
            task=identity.task_id(launch.place),
        )
        return
    if launch.settled:
        return
    if launch.request is not None:
        text = f"{tried}: a request to start it is under way, or its answer was lost"
        yield Entry(Source.RECORD, text, case.now, Mark.WAITS)
        return
    turn = launch.due - case.now
    if launch.pace is not None and turn > 0:
        text = f"{tried}: its turn to be started comes in {seconds(turn)} (line {launch.pace})"
    else:
        text = f"{tried}, round {launch.round}: it waits to be started"
    yield Entry(Source.RECORD, text, case.now, Mark.WAITS)


def _tell_token(launch: Launch) -> Iterator[Entry]:
    if not launch.generation or launch.place is None:
        return
    runner = f" for the runner {launch.runner_name}" if launch.runner_name else ""
    text = f"token {launch.generation}{runner}"
    text += ": handed over" if launch.handed_over else ": announced, and not handed over"
    mark = Mark.DONE if launch.handed_over else Mark.WAITS
    at = launch.announced_at or None
    yield Entry(Source.RECORD, text, at, mark, after=launch.placed_at)


def _tell_end(case: Case, launch: Launch) -> Iterator[Entry]:
    after = max(launch.placed_at, launch.announced_at, launch.first_seen)
    if launch.taken_at:
        text = "its task has ended, and perhaps ran another job: whose, is waited for"
        yield Entry(Source.RECORD, text, launch.taken_at, Mark.WAITS)
    if launch.served:
        yield Entry(Source.RECORD, "its own runner got the job", None, Mark.DONE, after=after)
    if launch.given_up is not None:
        yield _tell_given_up(launch.given_up, case.now)
    if launch.ended:
        yield Entry(Source.RECORD, "nothing of the launch is left", None, after=case.now)
    holder = launch.lease_holder
    if holder is not None and launch.lease_until > case.now and not launch.ended:
        who = clean(holder.rpartition("/")[0], 80)
        yield Entry(Source.RECORD, f"the worker {who} carries it on now", case.now)


def _tell_given_up(why: str, now: float) -> Entry:
    text = f"nothing more is started for it: {clean(why)}"
    planned = OVER.match(why) or why.startswith(("its job waits", "not needed"))
    if planned:
        return Entry(Source.RECORD, text, None, after=now)
    advice = causes.explain(why)
    return Entry(Source.RECORD, text, None, Mark.FAILED, advice, after=now)


def make_home(launch: Launch, place: str) -> Home:
    """Make the home of a launch: its request says where it was started."""
    cluster, container, definition = read_request(launch)
    return Home(place, cluster, container, definition)


def read_request(launch: Launch) -> tuple[str, str, str]:
    """Read cluster, container and task definition of a launch's request; nothing else of it.

    A request may hold the key of a sealed token, so it is never shown.
    """
    request = json.loads(launch.request or "{}")
    overrides = request.get("overrides", {}).get("containerOverrides") or [{}]
    return (
        find_cluster(launch),
        str(overrides[0].get("name", "runner")),
        str(request.get("taskDefinition", "")),
    )


def find_cluster(launch: Launch) -> str:
    """Return the cluster of a launch: that of its request, else that of its task; "" for none."""
    named = json.loads(launch.request or "{}").get("cluster")
    if named is None and launch.place is not None:
        named = launch.place.rpartition(":task/")[2].partition("/")[0]
    return str(named or "")
