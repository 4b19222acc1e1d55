"""Run the listener (`Runner.Listener run`), read its output, and judge how it ended."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import host, phase
from sidecar.errors import Exit
from sidecar.process import Command, Process, run_child
from sidecar.runner import outcomes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sidecar.phase import Phase
    from sidecar.runner.folder import RunnerFolder

log = structlog.get_logger()

# Anchored at the beginning of the line and its time stamp: a job's name is untrusted text.
STAMP = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: "
LISTENING = re.compile(STAMP + r"Listening for Jobs$")
RUNNING = re.compile(STAMP + r"Running job: (?P<job>.*)$")
COMPLETED = re.compile(STAMP + r"Job (?P<job>.*) completed with result: (?P<result>[A-Za-z]+)$")
CONNECT_ERROR = re.compile(STAMP + r"Runner connect error: .*$")
RECONNECTED = re.compile(STAMP + r"Runner reconnected\.$")
VERSION = re.compile(r"^Current runner version: '(?P<version>[\w.-]{1,40})'$")
DEPRECATED = re.compile(r"^An error occurred: Runner version \S+ is deprecated ")
UNKNOWN_RUNNER = "The runner no longer exists on the server."


class Listener:
    """The listener's process, and what its output and the job hooks report."""

    def __init__(self, phase_: Phase) -> None:
        self.process: Process
        self.ready_for_jobs = asyncio.Event()
        """Set when the listener prints that it waits for jobs."""
        self.job = asyncio.Event()
        """Set when a job comes."""
        self.result: str | None = None
        """The job's result as the listener printed it; a hint, for the log."""
        self.version: str | None = None
        """The runner's version, as it printed it."""
        self.interrupted = False
        self._phase = phase_
        self._hook_started = False
        self._hook_completed = False
        self._unknown_to_github = self._deprecated = False

    # -- what it reports -----------------------------------------------------------------------

    def read_line(self, stream: str, line: str) -> None:
        """Read one line of its output."""
        log.info("listener.printed", stream=stream, line=line)
        if LISTENING.match(line):
            self.ready_for_jobs.set()
            self._phase.enter(phase.IDLE)
        elif (match := RUNNING.match(line)) and not self.job.is_set():
            self.job.set()
            log.info("job.announced", job=match["job"])
            self._phase.enter(phase.BUSY)
        elif match := COMPLETED.match(line):
            self.result = match["result"]
            log.info("job.reported", job=match["job"], result=self.result)
        elif CONNECT_ERROR.match(line) or RECONNECTED.match(line):
            log.warning("runner.connection_changed", connected=bool(RECONNECTED.match(line)))
        elif match := VERSION.match(line):
            self.version = match["version"]
        else:
            self._unknown_to_github |= line.startswith(UNKNOWN_RUNNER)
            self._deprecated |= DEPRECATED.match(line) is not None

    def on_hook_event(self, event: str) -> None:
        """Handle one event of a job hook: "started" or "completed"."""
        if event == "started" and not self._hook_started:
            self._hook_started = True
            self.job.set()
            log.info("job.started")
            self._phase.enter(phase.BUSY)
        elif event == "completed":
            self._hook_completed = True
            log.info("job.completed")

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
    def ended(self) -> asyncio.Future[int]:
        """Its exit code, when it has ended."""
        return self.process.ended

    def interrupt(self) -> None:
        """Interrupt it: it ends a running job, which GitHub then shows as failed, and itself."""
        self.interrupted = True
        self.process.interrupt_listener()

    def choose_exit_code(self, *, stopped: bool) -> Exit:
        """Return the agent's exit code for a listener that has ended.

        An interrupted job counts as cancelled, unless exit code, result and hook all say that it
        had ended before: a job can forge a line, and the completed hook does not run in a shutdown.
        """
        if not stopped or (self.had_job and not self.interrupted):
            return self.outcome.exit
        ended_well = self.ended.result() >= 0 and self.result not in (None, "Canceled")
        if self.had_job and not (ended_well and self._hook_completed):
            return Exit.CANCELLED
        return Exit.DONE

    @property
    def outcome(self) -> outcomes.Outcome:
        """How it ended; only for a listener that has ended."""
        found = outcomes.find_outcome(self.ended.result())
        if self._deprecated and self.ended.result() == 1 and not self.had_job:
            return outcomes.NAMED[7]  # the variable for exit code 7 was removed
        if self.had_job or self.ended.result() != 0:
            return found
        return outcomes.DEREGISTERED if self._unknown_to_github else outcomes.NO_JOB


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
                outcome = listener.outcome
                log.info(
                    "runner.ended",
                    code=listener.ended.result(),
                    outcome=outcome.name,
                    meaning=outcome.meaning,
                )
