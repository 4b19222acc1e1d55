"""The queue of jobs."""

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.github.runs import Run, Runs


class WrongJobError(ValueError):
    """A job that could not have come from a workflow."""


def _uuid() -> str:
    return str(uuid.uuid4())


@dataclass
class Step:
    """One step of a job, and its outcome."""

    run: str
    name: str
    condition: str = ""
    state: str = "queued"  # queued, running, completed
    result: str = ""  # succeeded, failed, canceled, skipped
    log: str = ""
    key: str = field(default_factory=_uuid)
    uses: dict[str, Any] | None = None
    """The reference to an action, as in the job's message; None for a script."""
    inputs: dict[str, Any] = field(default_factory=dict)
    shell: str = ""


@dataclass
class Job:
    """One job: waiting, queued, running, completed; times are seconds since 1970."""

    id: int
    run: Run
    name: str
    labels: list[str]
    steps: list[Step]
    env: dict[str, str]
    repository: str
    state: str = "queued"
    result: str = ""  # succeeded, failed, canceled, abandoned
    runner_id: int = 0
    runner_name: str = ""
    acquired: bool = False
    cancel_requested: bool = False
    cancel_sent: bool = False
    queued_at: float = 0.0
    started_at: float = 0.0
    completed_at: float = 0.0
    renewed_at: float = 0.0
    runner_logs: dict[str, str] = field(default_factory=dict)
    """What the runner itself did: "Set up job", "Set up runner" (hook) and so on."""

    key: str = field(default_factory=_uuid)
    plan: str = field(default_factory=_uuid)
    request: str = field(default_factory=_uuid)
    container: Any = None
    """`container:`, as in a workflow or as a template token; likewise `services`."""
    services: Any = None
    own_steps: dict[str, str] = field(default_factory=dict)
    """The names of the runner's own steps by their id."""
    summaries: dict[str, str] = field(default_factory=dict)
    environment: str = ""
    """The environment that it is to be approved for; it waits until then."""
    id_token_url: str = ""
    """Where it asks for its OIDC token, with its own access token; "" without id-token: write."""
    attempt: int = 1
    """Of its run; a re-run has new jobs."""
    group_id: int = 0
    """Of its runner, which may be gone."""

    def step(self, key: str) -> Step | None:
        """Return the step of that id; None if it is none of the workflow's."""
        return next((step for step in self.steps if step.key == key), None)

    def log(self) -> str:
        """Return the whole log, in the order of the steps."""
        return "".join([*self.runner_logs.values(), *(step.log for step in self.steps)])


class Jobs:
    """All jobs, in the order they were queued."""

    def __init__(
        self, changed: Callable[[], None], announce: Callable[[Job, str], None] | None = None
    ) -> None:
        self._all: dict[int, Job] = {}
        self._ids = itertools.count(1)
        self._changed = changed
        self._announce = announce or (lambda _job, _action: None)
        self.runs = Runs()

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._all.values()))

    def get(self, job_id: int) -> Job | None:
        """Return the job, or None."""
        return self._all.get(job_id)

    def add(self, wanted: Mapping[str, Any], now: float) -> Job:
        """Queue a job as a workflow describes it. Raises WrongJobError."""
        steps = wanted.get("steps") or []
        if not isinstance(steps, Sequence) or not all(
            isinstance(step, Mapping)
            and isinstance(step.get("run", step.get("uses")), str | Mapping)
            for step in steps
        ):
            raise WrongJobError('steps must be a list of {"run": "…"}')
        run = self.runs.add(wanted, now)
        job = Job(
            id=next(self._ids),
            run=run,
            name=str(wanted.get("name") or "build"),
            labels=[str(label) for label in wanted.get("labels") or []],
            steps=[_step(step) for step in steps],
            env={str(name): str(value) for name, value in (wanted.get("env") or {}).items()},
            repository=str(wanted.get("repository") or ""),
            queued_at=now,
            container=wanted.get("container"),
            services=wanted.get("services"),
            environment=str(wanted.get("environment") or ""),
            id_token_url=str(wanted.get("id_token_url") or ""),
            attempt=run.attempt,
        )
        job.repository = job.repository or run.repository
        self._queue(job)
        return job

    def _queue(self, job: Job) -> None:
        self._all[job.id] = job
        if job.environment:
            job.state = "waiting"
        # GitHub says `queued` of a job that waits for an approval as well.
        self._announce(job, "queued")
        if job.state == "waiting":
            self._announce(job, "waiting")
        self._changed()

    def of_run(self, run: Run) -> list[Job]:
        """Return the jobs of a run's newest attempt."""
        return [job for job in self if job.run is run and job.attempt == run.attempt]

    def run_again(self, jobs: Sequence[Job], now: float) -> list[Job]:
        """Queue ended jobs of one run once more: as new jobs, in the run's next attempt."""
        run = jobs[0].run
        run.attempt, run.started_at = run.attempt + 1, now
        again = []
        for old in jobs:
            job = Job(
                next(self._ids),
                run,
                old.name,
                list(old.labels),
                [_copy(step) for step in old.steps],
                dict(old.env),
                old.repository,
                queued_at=now,
                container=old.container,
                services=old.services,
                attempt=run.attempt,
            )
            self._queue(job)
            again.append(job)
        return again


def _step(wanted: Mapping[str, Any]) -> Step:
    run = str(wanted.get("run") or "")
    first = run.strip().splitlines()[0] if run.strip() else wanted.get("uses") or ""
    step = Step(run, str(wanted.get("name") or f"Run {first}"), str(wanted.get("if") or ""))
    step.uses, step.inputs = _read_uses(wanted.get("uses")), dict(wanted.get("with") or {})
    step.shell = str(wanted.get("shell") or "")
    return step


def _copy(step: Step) -> Step:
    return Step(
        step.run,
        step.name,
        step.condition,
        uses=step.uses,
        inputs=dict(step.inputs),
        shell=step.shell,
    )


def _read_uses(uses: Any) -> dict[str, Any] | None:
    """Return the reference to an action that a workflow writes as one text."""
    if not isinstance(uses, str):
        return dict(uses) if uses else None
    if uses.startswith("docker://"):
        return {"type": "containerRegistry", "image": uses.removeprefix("docker://")}
    if uses.startswith("./"):
        return {"type": "repository", "repositoryType": "self", "path": uses}
    name, _, ref = uses.partition("@")
    return {
        "type": "repository",
        "repositoryType": "GitHub",
        "name": name,
        "ref": ref,
        "path": "",
    }
