"""The state of this GitHub and the rules that hold in it."""

import asyncio
import itertools
import secrets
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from local.github.apps import Apps
from local.github.changes import Changes
from local.github.faults import Faults
from local.github.jobs import Job, Jobs
from local.github.runners import Runner, Runners
from local.github.scope import Scope
from local.github.settings import Settings
from local.github.tokens import Token, Tokens, registration_text, web_token
from local.github.webhooks import Hooks


class SessionConflictError(Exception):
    """Another listener holds this runner's session."""


@dataclass
class Session:
    """The session of a listener. `ghost`: its runner is deregistered, and it gets no answer."""

    id: str
    runner_id: int
    owner: str
    polls: int = 0
    seen_at: float = 0.0
    ghost: bool = False
    version: str = ""


@dataclass(frozen=True)
class Call:
    """One call that has ended: its status, or `client left`, or `closed` by this side."""

    method: str
    path: str
    ended: str
    body: str


@dataclass
class World:
    """The whole state; single-threaded, changed only from the event loop."""

    settings: Settings = field(default_factory=Settings)
    now: Callable[[], float] = time.time
    changes: Changes = field(default_factory=Changes)
    tokens: Tokens = field(default_factory=Tokens)
    sessions: dict[str, Session] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    log: deque[Call] = field(default_factory=lambda: deque(maxlen=1000))
    faults: Faults = field(default_factory=Faults)
    apps: Apps = field(default_factory=Apps)
    rate_reset_at: float = 0.0
    message_ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """What the results service signs its URLs with."""

    def __post_init__(self) -> None:
        self.runners = Runners(self.changes.ring)
        self.hooks = Hooks(self.now, self.changes, self.apps)
        self.jobs = Jobs(self.changes.ring, self.announce)

    # Tokens

    def mint(self, kind: str, scope: Scope | None, lifetime: float | None = None) -> Token:
        """Make a token of `kind` for `scope`; it lives `lifetime` seconds."""
        life = self.settings.token_lifetime if lifetime is None else lifetime
        until = self.now() + life
        return self.tokens.add(Token(_text(kind, until), kind, scope, until))

    def add_pat(self, value: str) -> Token:
        """Accept `value` as a personal token that may do everything, for a year."""
        return self.tokens.add(Token(value, "pat", None, self.now() + 365 * 86400))

    # Runners

    def visible(self, runner: Runner) -> bool:
        """Whether list and get show it yet."""
        return runner.visible_at <= self.now()

    def show_later(self, runner: Runner) -> None:
        """Ring when it becomes visible."""
        if (delay := runner.visible_at - self.now()) > 0:
            asyncio.get_running_loop().call_later(delay + 0.001, self.changes.ring)

    def online(self, runner: Runner) -> bool:
        """Whether its listener asks for messages, or did so just now."""
        return any(
            session.polls > 0 or self.now() - session.seen_at < self.settings.offline_after
            for session in self.sessions.values()
            if session.runner_id == runner.id and not session.ghost
        )

    def make_ghost(self, runner: Runner) -> None:
        """Deregister the runner, and let its listener wait for ever."""
        for session in self.sessions.values():
            if session.runner_id == runner.id:
                session.ghost = True
        runner.job_id = 0
        self.runners.remove(runner, "ghost")

    def still_unnoticed(self, runner_id: int) -> bool:
        """Return whether a runner was removed so lately that its listener gets no refusal yet."""
        removal = next((each for each in self.runners.removed if each.id == runner_id), None)
        if removal is None:
            return False
        completed = removal.by == "job-completed"
        delay = self.settings.gone_after if completed else self.settings.removal_told_after
        left = removal.at + delay - time.time()
        if left > 0:
            asyncio.get_running_loop().call_later(left + 0.001, self.changes.ring)
        return left > 0

    def send(self, runner: Runner, kind: str, body: dict[str, Any]) -> None:
        """Send a message to the runner's listener."""
        runner.messages.append((kind, body))
        self.changes.ring()

    # Sessions

    def open_session(self, runner: Runner, owner: str, version: str) -> Session:
        """Open a session for a listener. Raises SessionConflictError while another one is there."""
        now = self.now()
        for old in [each for each in self.sessions.values() if each.runner_id == runner.id]:
            if old.polls > 0 or now - old.seen_at < self.settings.session_timeout:
                raise SessionConflictError(runner.name)
            del self.sessions[old.id]
        session = Session(str(uuid.uuid4()), runner.id, owner, seen_at=now, version=version)
        self.sessions[session.id] = session
        runner.version = version or runner.version
        self.changes.ring()
        return session

    def close_session(self, session_id: str) -> None:
        """Close a session; closing twice is no error."""
        if self.sessions.pop(session_id, None) is not None:
            self.changes.ring()

    # Jobs

    def announce(self, job: Job, action: str) -> None:
        """Send the webhook `workflow_job`, to whom it concerns."""
        self.hooks.announce(job, action)

    def assign(self, runner: Runner) -> Job | None:
        """Assign the next job that fits to the runner; return it, or None."""
        if runner.busy:
            return None
        for job in self.jobs:
            if job.state != "queued" or not runner.fits(job.labels):
                continue
            if not runner.scope.holds(job.repository):
                continue
            if self.settings.ghosts > 0:
                self.settings.ghosts -= 1
                self.make_ghost(runner)
                return None
            self._take(job, runner)
            return job
        return None

    def _take(self, job: Job, runner: Runner) -> None:
        job.state, job.runner_id, job.runner_name = "running", runner.id, runner.name
        job.started_at = job.renewed_at = self.now()
        runner.job_id, job.group_id = job.id, runner.group_id
        loop = asyncio.get_running_loop()
        loop.call_later(self.settings.acquire_timeout, self._put_back, job)
        self.changes.ring()

    def _put_back(self, job: Job) -> None:
        if job.acquired or job.state != "running":
            return
        if (runner := self.runners.get(job.runner_id)) is not None:
            runner.job_id = 0
        job.state, job.runner_id, job.runner_name = "queued", 0, ""
        self.changes.ring()

    def acquire(self, job: Job) -> None:
        """Note that the runner has fetched the job that was assigned to it."""
        job.acquired = True
        self.renew(job)
        self.announce(job, "in_progress")

    def renew(self, job: Job) -> None:
        """Note that the job still runs; without such a note it is given up some day."""
        job.renewed_at = self.now()
        loop = asyncio.get_running_loop()
        loop.call_later(self.settings.lost_after, self._give_up, job, job.renewed_at)

    def _give_up(self, job: Job, renewed_at: float) -> None:
        if job.state == "running" and job.renewed_at == renewed_at:
            self.complete(job, "abandoned")

    def complete(self, job: Job, result: str) -> None:
        """End a job; an ephemeral runner's registration ends with it."""
        if job.state == "completed":
            return
        job.state, job.result, job.completed_at = "completed", result, self.now()
        runner = self.runners.get(job.runner_id)
        if runner is not None and runner.job_id == job.id:
            if runner.ephemeral:
                self._deregister_ephemeral(runner)
            else:
                runner.job_id = 0
        self.announce(job, "completed")
        self.changes.ring()

    def _deregister_ephemeral(self, runner: Runner) -> None:
        if self.settings.deregister_after <= 0:
            self.runners.remove(runner, "job-completed", force=True)
            return
        loop = asyncio.get_running_loop()
        ended = lambda: self.runners.remove(runner, "job-completed", force=True)  # noqa: E731
        loop.call_later(self.settings.deregister_after, ended)

    def cancel(self, job: Job) -> bool:
        """Ask for the end of a job as the web page's button does; False if it has ended."""
        if job.state == "completed":
            return False
        if job.state in ("waiting", "queued"):
            self.complete(job, "canceled")
        job.cancel_requested = True
        self.changes.ring()
        return True

    def approve(self, job: Job, *, rejected: bool = False) -> bool:
        """Let a job go on that waits for an approval, or end it; False if it does not wait."""
        if job.state != "waiting":
            return False
        if rejected:
            self.complete(job, "failed")
            return True
        job.state = "queued"
        self.announce(job, "queued")
        self.changes.ring()
        return True

    def describe(self) -> dict[str, Any]:
        """Give the whole state, as `/_local/state` shows it."""
        from local.github import views

        return views.world(self)


def _text(kind: str, until: float) -> str:
    if kind in ("registration", "remove"):
        return registration_text()
    if kind in ("tenant", "runner", "job"):
        return web_token(kind, until)
    prefix = {"pat": "ghp_", "installation": "ghs_"}[kind]
    return prefix + secrets.token_urlsafe(27).replace("-", "0").replace("_", "1")
