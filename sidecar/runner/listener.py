"""Run the listener (`Runner.Listener run`), read its output, and judge how it ended."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import host, phase
from sidecar.errors import Exit
from sidecar.log import line_limit
from sidecar.log.line_limit import LineLimit
from sidecar.process import Command, Process, run_child
from sidecar.runner import outcomes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from sidecar.phase import Phase
    from sidecar.runner.folder import RunnerFolder

log = structlog.get_logger()

REFUSED_GRACE = 5.0
"""Seconds until the listener of a refused job is interrupted: the hook ends the job itself."""

# Anchored at the beginning of the line and its time stamp: a job's name is untrusted text.
STAMP = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: "
LISTENING = re.compile(STAMP + r"Listening for Jobs$")
RUNNING = re.compile(STAMP + r"Running job: (?P<job>.*)$")
COMPLETED = re.compile(STAMP + r"Job (?P<job>.*) completed with result: (?P<result>[A-Za-z]+)$")
CONNECT_ERROR = re.compile(
    STAMP + r"Runner connect error: (?P<reason>.*?)(\. Retrying until reconnected\.)?$"
)
RECONNECTED = re.compile(STAMP + r"Runner reconnected\.$")
VERSION = re.compile(r"^Current runner version: '(?P<version>[\w.-]{1,40})'$")
DEPRECATED = re.compile(r"^An error occurred: Runner version \S+ is deprecated ")
UNKNOWN_RUNNER = (
    "The runner no longer exists on the server.",
    "Failed to create a session. The runner registration has been deleted from the server",
)
NO_SESSION = ("Failed to create broker session", "Error: Conflict")
"""How the reason of a connect error begins when it is about a session that was already open."""
REMOVED_CONFIGURATION = "√ Removed .runner"


class Listener:
    """The listener's process, and what its output and the job hooks report."""

    def __init__(self, phase_: Phase, now: Callable[[], float] = time.monotonic) -> None:
        self.process: Process
        self.ready_for_jobs = asyncio.Event()
        """Set when the listener prints that it waits for jobs."""
        self.job = asyncio.Event()
        """Set when a job comes."""
        self.session_open = asyncio.Event()
        """Set while it has a session at GitHub, as far as its output says."""
        self.session_lost = asyncio.Event()
        """Set while it has none."""
        self.session_lost.set()
        self.session_limit_reached = False
        """Whether it is ended because it could not open a session in time."""
        self.connect_error: str | None = None
        """Why it has no connection to GitHub; None while it has one."""
        self.result: str | None = None
        """The job's result as the listener printed it; a hint, for the log."""
        self.version: str | None = None
        """The runner's version, as it printed it."""
        self.interrupted = False
        self.refused: str | None = None
        """Why its job may not run; None if it may, or if there is no policy."""
        self._phase = phase_
        self._limit = LineLimit(now)
        self._hook_started = False
        self._hook_completed = False
        self._unknown_to_github = self._deprecated = self._removed_configuration = False

    # -- what it reports -----------------------------------------------------------------------

    def read_line(self, stream: str, line: str) -> None:
        """Read one line of its output, and log it unless there are too many."""
        logged = self._log_line(stream, line)
        if LISTENING.match(line):
            self.ready_for_jobs.set()
            self._set_session_open()
            self._phase.enter(phase.IDLE)
        elif (match := RUNNING.match(line)) and not self.job.is_set():
            self.job.set()
            self._set_connected()
            log.info("job.announced", job=match["job"])
            self._phase.enter(phase.BUSY)
        elif match := COMPLETED.match(line):
            self._read_result(match["job"], match["result"])
        elif match := CONNECT_ERROR.match(line):
            self._read_connect_error(match["reason"], logged=logged)
        elif RECONNECTED.match(line):
            self._set_session_open()
        elif match := VERSION.match(line):
            self.version = match["version"]
        else:
            self._unknown_to_github |= line.startswith(UNKNOWN_RUNNER)
            self._deprecated |= DEPRECATED.match(line) is not None
            self._removed_configuration |= line == REMOVED_CONFIGURATION

    def _log_line(self, stream: str, line: str) -> bool:
        """Log one line, unless there are too many; return whether it was logged."""
        if self._limit.admit(line):
            log.info("listener.printed", stream=stream, line=line)
            return True
        if self._limit.left_out == 1:
            log.warning("listener.output_limited", bytes_a_second=line_limit.RATE)
        return False

    def _read_result(self, job: str, result: str) -> None:
        """Take the job's result, and say what GitHub has if that is known to differ.

        A job that ends because its runner is shut down is Canceled for the listener, and failed
        at GitHub. The completed hook runs in no shutdown: GitHub itself then cancelled the job.
        """
        was_reported, self.result = self.result is not None, result
        if was_reported:  # a runner has one job: a job itself prints more such lines
            return
        if result == "Canceled" and self.interrupted and not self._hook_completed:
            log.info("job.reported", job=job, result=result, conclusion="failed")
        else:
            log.info("job.reported", job=job, result=result)

    def _read_connect_error(self, reason: str, *, logged: bool) -> None:
        self.connect_error = reason
        if logged:
            log.warning("runner.connection_changed", connected=False, reason=reason)
        # Other errors are about the request for a job, and no line says when that works again.
        if reason.startswith(NO_SESSION):
            self.session_open.clear()
            self.session_lost.set()

    def _set_session_open(self) -> None:
        self.session_lost.clear()
        self.session_open.set()
        self._set_connected()

    def _set_connected(self) -> None:
        if self.connect_error is not None:
            self.connect_error = None
            log.warning("runner.connection_changed", connected=True)

    def on_hook_event(self, event: str) -> None:
        """Handle one event of a job hook: "started" or "completed"."""
        if event == "started" and not self._hook_started:
            self._hook_started = True
            self.job.set()
            log.info("job.started")
            self._phase.enter(phase.BUSY)
        elif event == "completed" and not self._hook_completed:
            self._hook_completed = True
            log.info("job.completed")

    def refuse_job(self, reason: str) -> None:
        """Take note that its job may not run, and see to it that the job ends."""
        self.refused = reason
        asyncio.get_running_loop().call_later(REFUSED_GRACE, self._interrupt_refused)

    def _interrupt_refused(self) -> None:
        if self.running:
            self.interrupt(busy=True)

    def log_left_out(self) -> None:
        """Log how many of its lines were not logged, if any."""
        if self._limit.left_out:
            log.warning("listener.output_left_out", lines=self._limit.left_out)

    # -- its state -----------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a job runs. Output never decides that: a job can forge a line, not a process."""
        if not self.running:
            return False
        return self._hook_started or host.has_descendant(self.process.pid, host.WORKER)

    @property
    def ready(self) -> bool:
        """Whether it waits for a job, or has one."""
        return self.ready_for_jobs.is_set() and self.running

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.process.running

    @property
    def had_job(self) -> bool:
        """Whether a job came."""
        return self.job.is_set()

    @property
    def job_began(self) -> bool:
        """Whether a job came that was neither withdrawn by GitHub nor refused before it began."""
        return self.refused is None and (self._hook_started or self.result is not None)

    @property
    def ended(self) -> asyncio.Future[int]:
        """Its exit code, when it has ended."""
        return self.process.ended

    def interrupt(self, *, busy: bool) -> bool:
        """Interrupt it: it ends a running job, which GitHub then shows as failed, and itself.

        Returns whether that was possible; on Windows it may have no console to be called on.
        """
        self.interrupted = True
        reason = self.process.interrupt_listener()
        if reason is None:
            log.info("runner.interrupted", busy=busy)
        else:
            log.warning("runner.interrupt_failed", busy=busy, reason=reason)
        return reason is None

    def choose_exit_code(self, *, stopped: bool) -> Exit:
        """Return the agent's exit code for a listener that has ended.

        An interrupted job counts as cancelled, unless exit code, result and hook all say that it
        had ended before: a job can forge a line, and the completed hook does not run in a shutdown.
        """
        if self.refused is not None:
            return Exit.REFUSED
        if not stopped or (self.had_job and not self.interrupted):
            return self.outcome.exit
        ended_well = not outcomes.is_kill(self.ended.result()) and self.result not in (
            None,
            "Canceled",
        )
        if self.had_job and not (ended_well and self._hook_completed):
            return Exit.CANCELLED
        return Exit.DONE

    @property
    def outcome(self) -> outcomes.Outcome:
        """Return how it ended; only for a listener that has ended."""
        code = self.ended.result()
        if self.refused is not None:
            return outcomes.REFUSED
        if self.had_job:
            # A job that ran has a result when the listener ends with 0.
            withdrawn = code == 0 and not self.job_began and not self.interrupted
            return outcomes.WITHDRAWN if withdrawn else outcomes.find_outcome(code)
        if self.session_limit_reached:
            return outcomes.NO_SESSION
        return self._find_outcome_without_job(code)

    def _find_outcome_without_job(self, code: int) -> outcomes.Outcome:
        if self._unknown_to_github and code in (0, 1):
            return outcomes.DEREGISTERED
        if self._deprecated and code == 1:
            return outcomes.NAMED[7]  # the variable for exit code 7 was removed
        if code == 0:
            return outcomes.WITHDRAWN if self._removed_configuration else outcomes.NO_JOB
        return outcomes.find_outcome(code)


@asynccontextmanager
async def run_listener(
    folder: RunnerFolder, env: Mapping[str, str], listener: Listener
) -> AsyncIterator[None]:
    """Run the listener within the block; on leaving kill it and all that it or its jobs started."""
    command = Command((folder.listener, "run"), env, folder.path, folder.user)
    async with run_child(command, listener.read_line) as listener.process:
        log.info("runner.started", pid=listener.process.pid)
        try:
            yield
        finally:
            if listener.ended.done():
                await listener.process.read_last_output()
                listener.log_left_out()
                outcome = listener.outcome
                log.info(
                    "runner.ended",
                    code=listener.ended.result(),
                    outcome=outcome.name,
                    meaning=outcome.meaning,
                )
