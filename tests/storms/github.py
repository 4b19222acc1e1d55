"""GitHub as launcher and agents use it: runners, jobs, runs, tokens and webhooks."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.storms.calls import loop_time
from tests.storms.clock import now
from tests.storms.rest import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storms.calls import Weather

CANARY = "CANARY"
"""In each secret; it may stand nowhere but in SSM."""
QUEUED_FOR = 24 * 3600.0
QUEUED, WAITING, IN_PROGRESS, COMPLETED = "queued", "waiting", "in_progress", "completed"


@dataclass
class Job:
    """One job of a run."""

    id: int
    run: int
    attempt: int
    repository: str
    labels: tuple[str, ...]
    seconds: float
    """How long it runs."""
    event: str = "push"
    head: str = ""
    status: str = QUEUED
    conclusion: str | None = None
    runner: Runner | None = None
    began: int = 0
    """How often it was given to a runner."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """It is over, by itself or because somebody cancelled it."""

    @property
    def over(self) -> bool:
        """Whether it is completed."""
        return self.status == COMPLETED


@dataclass
class Runner:
    """A registered runner."""

    id: int
    name: str
    repository: str
    labels: frozenset[str]
    just_in_time: bool
    online: bool = False
    job: Job | None = None
    foreign: bool = False
    ephemeral: bool = True
    given: asyncio.Event = field(default_factory=asyncio.Event)
    """It has got a job, or was deleted."""
    deleted: bool = False

    def fits(self, job: Job) -> bool:
        """Whether it has all that a job asks for."""
        wanted = frozenset(map(str.lower, job.labels))
        return self.repository == job.repository and wanted <= self.labels


class GitHub:
    """One instance of GitHub, with some repositories."""

    def __init__(self, weather: Weather) -> None:
        self.jobs: dict[int, Job] = {}
        self.runners: dict[int, Runner] = {}
        self.deliver: Callable[[str, Job], None] = lambda *_: None
        """Sends the webhooks of a job's new state."""
        self.calls: Counter[str] = Counter()
        self.limit: Callable[[str], float] = lambda _: 0.0
        """Takes a method; returns for how long GitHub wants no requests."""
        self.make_blob: Callable[[Runner], str] = lambda runner: f"{CANARY}-jit-{runner.id}"
        """Makes a just-in-time configuration."""
        self.remaining = 4900
        self.resets_at: float | None = None
        """When the limit's hour ends; None: in half an hour."""
        self._queued: dict[int, Job] = {}
        self._idle: dict[int, Runner] = {}
        self._names: set[str] = set()
        self._weather = weather
        self._numbers = itertools.count(1001)
        self._tokens: dict[str, tuple[str, float]] = {}

    # -- jobs --------------------------------------------------------------------------------

    def queue(self, job: Job) -> None:
        """Queue a job: a new one, or one that waited."""
        self.jobs[job.id] = job
        job.status = QUEUED
        self._weather.note(f"job {job.id} is queued {job.labels} {job.repository}")
        self.deliver(QUEUED, job)
        self._queued[job.id] = job
        self._find_runner(job)

    def hold(self, job: Job) -> None:
        """Let a job wait for an approval."""
        self.jobs[job.id] = job
        self._queued.pop(job.id, None)
        job.status = WAITING
        self._weather.note(f"job {job.id} waits for an approval")
        self.deliver(WAITING, job)

    def complete(self, job: Job, conclusion: str) -> None:
        """End a job, and free its runner."""
        if job.over:
            return
        self._queued.pop(job.id, None)
        job.status, job.conclusion = COMPLETED, conclusion
        job.done.set()
        self._weather.note(f"job {job.id} is completed: {conclusion}")
        self.deliver(COMPLETED, job)
        if job.runner is not None and not job.runner.foreign:
            self.remove(job.runner)  # it is ephemeral

    def _find_runner(self, job: Job) -> None:
        """Give a job to any idle runner that fits."""
        idle = [runner for runner in self._idle.values() if runner.fits(job)]
        if idle:
            self._assign(job, self._weather.chance.choice(idle))

    def _find_job(self, runner: Runner) -> None:
        """Give an idle runner the oldest job that fits."""
        for job in self._queued.values():
            if runner.fits(job):
                return self._assign(job, runner)
        return None

    def _assign(self, job: Job, runner: Runner) -> None:
        self._queued.pop(job.id)
        self._idle.pop(runner.id)
        job.status, job.runner, runner.job = IN_PROGRESS, runner, job
        job.began += 1
        self._weather.note(f"job {job.id} goes to {runner.name[-8:]}")
        runner.given.set()
        self.deliver(IN_PROGRESS, job)

    # -- runners -----------------------------------------------------------------------------

    def connect(self, runner: Runner) -> None:
        """Let a runner come online."""
        runner.online = True
        self._idle[runner.id] = runner
        self._find_job(runner)

    def disconnect(self, runner: Runner) -> None:
        """Let a runner go offline."""
        runner.online = False
        self._idle.pop(runner.id, None)

    def register(self, token: str, name: str, labels: list[str]) -> Runner | None:
        """Register a runner with a registration token; None where GitHub refuses it."""
        repository, until = self._tokens.get(token, ("", 0.0))
        if loop_time() > until or name in self._names:
            return None
        return self.add(repository, name, labels, just_in_time=False)

    def add(self, repository: str, name: str, labels: list[str], *, just_in_time: bool) -> Runner:
        """Add a runner."""
        number = next(self._numbers)
        names = frozenset(map(str.lower, labels))
        runner = Runner(number, name, repository, names, just_in_time)
        self.runners[number] = runner
        self._names.add(name)
        return runner

    def remove(self, runner: Runner) -> None:
        """Remove a runner."""
        runner.deleted = True
        self.disconnect(runner)
        runner.given.set()
        self.runners.pop(runner.id, None)
        self._names.discard(runner.name)

    # -- REST --------------------------------------------------------------------------------

    def session(self, *_: Any, **__: Any) -> Session:
        """Make what stands for aiohttp's session."""
        return Session(self, self._weather)

    def answer(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        """Answer one request of the REST API."""
        parts = urlsplit(url)
        path = re.sub(r"^/api/v3", "", parts.path)
        for wanted, pattern, handler in _ROUTES:
            if wanted == method and (found := re.fullmatch(pattern, path)):
                self.calls[handler.__name__] += 1
                query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
                return handler(self, SimpleNamespace(**found.groupdict(), query=query, body=body))
        raise AssertionError(f"the model of GitHub does not know {method} {path}")

    def _make_registration_token(self, asked: Any) -> tuple[int, Any]:
        token = f"{CANARY}-{next(self._numbers)}"
        self._tokens[token] = (asked.repository, loop_time() + 3600)
        expires = datetime.fromtimestamp(now(), UTC) + timedelta(hours=1)
        return 201, {"token": token, "expires_at": expires.isoformat()}

    def _make_configuration(self, asked: Any) -> tuple[int, Any]:
        name = asked.body["name"]
        if name in self._names:
            return 409, {"message": "Already exists - A runner with the name already exists."}
        runner = self.add(asked.repository, name, asked.body["labels"], just_in_time=True)
        self._weather.note(f"runner {name[-8:]} is configured just in time")
        return 201, {"runner": _show(runner), "encoded_jit_config": self.make_blob(runner)}

    def _list_runners(self, asked: Any) -> tuple[int, Any]:
        name = asked.query.get("name")
        found = [
            _show(runner)
            for runner in self.runners.values()
            if runner.repository == asked.repository and name in (None, runner.name)
        ]
        return 200, {"total_count": len(found), "runners": _cut(found, asked.query)}

    def _get_runner(self, asked: Any) -> tuple[int, Any]:
        runner = self.runners.get(int(asked.id))
        return (200, _show(runner)) if runner else (404, {"message": "Not Found"})

    def _delete_runner(self, asked: Any) -> tuple[int, Any]:
        runner = self.runners.get(int(asked.id))
        if runner is None:
            return 404, {"message": "Not Found"}
        if runner.job is not None:
            return 422, {"message": "Runner is currently running a job and cannot be deleted."}
        self._weather.note(f"runner {runner.name[-8:]} is deleted")
        self.remove(runner)
        return 204, None

    def _get_job(self, asked: Any) -> tuple[int, Any]:
        job = self.jobs.get(int(asked.id))
        return (200, show_job(job)) if job else (404, {"message": "Not Found"})

    def _list_runs(self, asked: Any) -> tuple[int, Any]:
        numbers = {job.run for job in self.jobs.values() if job.repository == asked.repository}
        found = [self._show_run(each, asked.repository) for each in sorted(numbers)]
        found = [each for each in found if each["status"] == asked.query["status"]]
        return 200, {"total_count": len(found), "workflow_runs": _cut(found, asked.query)}

    def _list_jobs(self, asked: Any) -> tuple[int, Any]:
        found = [show_job(job) for job in self.jobs.values() if job.run == int(asked.id)]
        return 200, {"total_count": len(found), "jobs": _cut(found, asked.query)}

    def _get_run(self, asked: Any) -> tuple[int, Any]:
        run = self._show_run(int(asked.id), asked.repository)
        return (200, run) if run else (404, {"message": "Not Found"})

    def _show_run(self, number: int, repository: str) -> dict[str, Any]:
        jobs = [job for job in self.jobs.values() if job.run == number]
        if not jobs:
            return {}
        states = {job.status for job in jobs}
        order = (IN_PROGRESS, QUEUED, WAITING, COMPLETED)
        return {
            "id": number,
            "event": jobs[0].event,
            "head_branch": "main",
            "head_sha": "0" * 40,
            "path": ".github/workflows/ci.yml",
            "status": next(state for state in order if state in states),
            "run_attempt": max(job.attempt for job in jobs),
            "pull_requests": [],
            "repository": {"full_name": repository, "id": 7},
            "head_repository": {"full_name": jobs[0].head or repository, "id": 1},
        }


_REPOSITORY = r"/repos/(?P<repository>[^/]+/[^/]+)"
_ROUTES: list[tuple[str, str, Any]] = [
    (
        "POST",
        rf"{_REPOSITORY}/actions/runners/registration-token",
        GitHub._make_registration_token,
    ),
    (
        "POST",
        rf"{_REPOSITORY}/actions/runners/generate-jitconfig",
        GitHub._make_configuration,
    ),
    ("GET", rf"{_REPOSITORY}/actions/runners", GitHub._list_runners),
    ("GET", rf"{_REPOSITORY}/actions/runners/(?P<id>\d+)", GitHub._get_runner),
    (
        "DELETE",
        rf"{_REPOSITORY}/actions/runners/(?P<id>\d+)",
        GitHub._delete_runner,
    ),
    ("GET", rf"{_REPOSITORY}/actions/jobs/(?P<id>\d+)", GitHub._get_job),
    ("GET", rf"{_REPOSITORY}/actions/runs", GitHub._list_runs),
    ("GET", rf"{_REPOSITORY}/actions/runs/(?P<id>\d+)", GitHub._get_run),
    ("GET", rf"{_REPOSITORY}/actions/runs/(?P<id>\d+)/jobs", GitHub._list_jobs),
]


def _cut(found: list[Any], query: dict[str, str]) -> list[Any]:
    """Return the page that is asked for."""
    size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
    return found[(page - 1) * size : page * size]


def _show(runner: Runner) -> dict[str, Any]:
    return {
        "id": runner.id,
        "name": runner.name,
        "os": "linux",
        "status": "online" if runner.online else "offline",
        "busy": runner.job is not None,
        "labels": [{"name": label, "type": "custom"} for label in sorted(runner.labels)],
        "ephemeral": runner.ephemeral,
    }


def show_job(job: Job) -> dict[str, Any]:
    """Show a job as the API and the webhooks do."""
    runner = job.runner
    return {
        "id": job.id,
        "run_id": job.run,
        "run_attempt": job.attempt,
        "status": job.status,
        "conclusion": job.conclusion,
        "labels": list(job.labels),
        "name": "build",
        "workflow_name": "CI",
        "head_branch": "main",
        "created_at": "2027-01-15T08:00:00Z",
        "runner_id": runner.id if runner else None,
        "runner_name": runner.name if runner else None,
        "runner_group_id": 1 if runner else None,
        "runner_group_name": "Default" if runner else None,
    }


def make_payload(action: str, job: Job) -> bytes:
    """Make the payload of a webhook."""
    owner, name = job.repository.split("/")
    return json.dumps(
        {
            "action": action,
            "workflow_job": show_job(job) | {"status": action},
            "repository": {"id": 7, "full_name": job.repository, "name": name},
            "organization": {"login": owner},
            "sender": {"login": "octocat"},
        }
    ).encode()
