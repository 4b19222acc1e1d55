"""Tell what GitHub says of a job and its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.explain.case import Job
from launcher.explain.entries import Entry, Mark, Source, clean, read_time
from sidecar import github
from sidecar.github.answers import read_field, read_number
from sidecar.net.retry import call_with_retries, growing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launcher.explain.case import Case
    from sidecar.github.answers import Answer
    from sidecar.github.api import Api

TRIES = 3
WAITS = {
    "waiting": "it waits for an approval: a protection rule of its environment holds it back",
    "pending": "it waits for its turn: another run of its concurrency group is in progress",
    "requested": "GitHub has not put it into the queue yet",
}
"""States in which GitHub gives the job to no runner."""


async def ask(api: Api, path: str) -> Answer:
    """Ask GitHub, and again after what may pass in seconds. Raises GitHubError."""
    retried = growing(github.TransientError, first=0.5, longest=2.0)

    def pause(error: Exception) -> bool | float:
        return False if isinstance(error, github.RateLimited) else retried(error)

    async def once() -> Answer:
        return await api.call("GET", path, expects={200: None}, tries=1)

    return await call_with_retries(once, pause, tries=TRIES)


async def read_job(api: Api, repository: str, number: str) -> Job:
    """Read a job. Raises GitHubError."""
    return _read(repository, (await ask(api, f"/repos/{repository}/actions/jobs/{number}")).body)


async def read_run(api: Api, repository: str, number: int) -> Mapping[str, Any]:
    """Read a run. Raises GitHubError."""
    body = (await ask(api, f"/repos/{repository}/actions/runs/{number}")).body
    return body if isinstance(body, dict) else {}


async def list_jobs(api: Api, repository: str, run: str) -> list[Job]:
    """List the jobs of a run's last attempt. Raises GitHubError."""
    path = f"/repos/{repository}/actions/runs/{run}/jobs?per_page=100"
    listed = read_field((await ask(api, path)).body, "jobs", list)
    return [_read(repository, each) for each in listed]


def _read(repository: str, body: Any) -> Job:
    status = str(read_field(body, "status"))
    taken = status in ("in_progress", "completed") and body.get("runner_name")
    labels = body.get("labels") or []
    return Job(
        read_number(body, "id"),
        clean(body.get("name") or "", 100),
        repository,
        read_number(body, "run_id"),
        int(body.get("run_attempt") or 1),
        status,
        str(body["conclusion"]) if body.get("conclusion") else None,
        tuple(str(label) for label in labels),
        read_time(body.get("created_at")),
        read_time(body.get("started_at")),
        read_time(body.get("completed_at")),
        str(body["runner_name"]) if taken else None,
        clean(body["runner_group_name"], 100) if taken and body.get("runner_group_name") else None,
        clean(body.get("html_url") or "", 300),
    )


def tell(case: Case) -> Iterator[Entry]:
    """Yield what happened to the job."""
    job = case.job
    if job is None:
        return
    yield Entry(Source.GITHUB, _tell_begin(case, job), job.created_at)
    if job.status in WAITS:
        advice = "approve it, or end the run before it" if job.status != "requested" else ""
        yield Entry(Source.GITHUB, WAITS[job.status], case.now, Mark.FAILED, advice, after=case.now)
    if job.runner_name is not None:
        group = f" of the group {job.runner_group}" if job.runner_group else ""
        text = f"the runner {clean(job.runner_name, 100)}{group} has taken it"
        yield Entry(Source.GITHUB, text, job.started_at, Mark.DONE)
    if job.ended:
        yield _tell_end(job)
    elif job.status == "queued":
        yield Entry(Source.GITHUB, "it is queued: no runner has it", case.now, Mark.WAITS)
    elif job.status == "in_progress":
        yield Entry(Source.GITHUB, "it is in progress", case.now, Mark.DONE)


def _tell_begin(case: Case, job: Job) -> str:
    labels = ", ".join(clean(label, 60) for label in job.labels) or "nothing"
    run = case.run or {}
    of = f"{clean(run['name'], 60)}, " if run.get("name") else ""
    event = f", by {clean(run['event'], 40)}" if run.get("event") else ""
    return f"queued by {of}run {job.run_id}, attempt {job.attempt}{event}; it asks for {labels}"


def _tell_end(job: Job) -> Entry:
    text, at = f"completed: {job.conclusion or 'without a conclusion'}", job.completed_at
    if job.conclusion == "cancelled" and not job.began:
        text = "cancelled before a runner had it"
        advice = "somebody cancelled the run, or a newer run of its concurrency group did"
        return Entry(Source.GITHUB, text, at, Mark.FAILED, advice)
    if job.conclusion == "cancelled":
        return Entry(Source.GITHUB, "cancelled while it ran", at, Mark.FAILED, "look into its log")
    if job.conclusion in ("success", "skipped", "neutral"):
        return Entry(Source.GITHUB, text, at, Mark.DONE)
    advice = "look into its log at GitHub: a step failed, unless another line here failed first"
    if not job.began:
        text += "; no runner ever had it"
        advice = "GitHub ends a job that was queued for a day"
    return Entry(Source.GITHUB, text, at, Mark.FAILED, advice)
