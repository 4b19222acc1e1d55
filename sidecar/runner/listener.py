"""The listener: `Runner.Listener run`, watched from its first line to its exit code."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import host, phase
from sidecar.errors import Exit
from sidecar.process import Command, Process, running
from sidecar.runner import outcomes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from sidecar.phase import Phase
    from sidecar.runner.folder import RunnerFolder

log = structlog.get_logger()

WORKER = "Runner.Worker"

# Anchored at the line's beginning and its time stamp: a job's name is an outsider's text.
STAMP = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: "
LISTENING = re.compile(STAMP + r"Listening for Jobs$")
RUNNING = re.compile(STAMP + r"Running job: (?P<job>.*)$")
COMPLETED = re.compile(STAMP + r"Job (?P<job>.*) completed with result: (?P<result>[A-Za-z]+)$")
TROUBLE = re.compile(STAMP + r"Runner connect error: .*$")
RECONNECTED = re.compile(STAMP + r"Runner reconnected\.$")
VERSION = re.compile(r"^Current runner version: '(?P<version>[\w.-]{1,40})'$")
DEPRECATED = re.compile(r"^An error occurred: Runner version \S+ is deprecated ")
GONE = "The runner no longer exists on the server."


class Listener:
    """What is known of a running listener."""

    def __init__(self, phase_: Phase) -> None:
        self.process: Process
        self.listened = asyncio.Event()
        """Set once it said that it waits for jobs."""
        self.job = asyncio.Event()
        """Set once a job came."""
        self.result: str | None = None
        """The job's result as the listener told it; a hint, for the log."""
        self.version: str | None = None
        """The runner's version, as it told it."""
        self.interrupted = False
        self._phase = phase_
        self._hooked = False
        self._completed = False
        self._gone = self._deprecated = False

    # -- what it says --------------------------------------------------------------------------

    def hear(self, stream: str, line: str) -> None:
        """Take one line of its output."""
        log.info("listener.printed", stream=stream, line=line)
        if LISTENING.match(line):
            self.listened.set()
            self._phase.enter(phase.IDLE)
        elif (match := RUNNING.match(line)) and not self.job.is_set():
            self.job.set()
            log.info("job.announced", job=match["job"])
            self._phase.enter(phase.BUSY)
        elif match := COMPLETED.match(line):
            self.result = match["result"]
            log.info("job.reported", job=match["job"], result=self.result)
        elif TROUBLE.match(line) or RECONNECTED.match(line):
            log.warning("runner.connection_changed", connected=bool(RECONNECTED.match(line)))
        elif match := VERSION.match(line):
            self.version = match["version"]
        else:
            self._gone |= line.startswith(GONE)
            self._deprecated |= DEPRECATED.match(line) is not None

    def hear_hook(self, word: str) -> None:
        """Take one word of a job hook."""
        if word == "started" and not self._hooked:
            self._hooked = True
            self.job.set()
            log.info("job.started")
            self._phase.enter(phase.BUSY)
        elif word == "completed":
            self._completed = True
            log.info("job.completed")

    # -- what it does --------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a job runs. Output never decides it: a line can be forged, a process not."""
        if not self.running:
            return False
        return self._hooked or host.has_descendant(self.process.pid, WORKER)

    @property
    def ready(self) -> bool:
        """Whether it waits for a job, or has one."""
        return self.listened.is_set() and self.running

    @property
    def running(self) -> bool:
        """Whether it is still there."""
        return self.process.running

    @property
    def had_job(self) -> bool:
        """Whether a job came at all."""
        return self.job.is_set()

    @property
    def ended(self) -> asyncio.Future[int]:
        """Its exit code, when it has one."""
        return self.process.ended

    def interrupt(self) -> None:
        """Ask it to end: it cancels a running job, tells GitHub, and goes."""
        self.interrupted = True
        self.process.interrupt()

    def verdict(self, *, stopped: bool) -> Exit:
        """Return the agent's exit code, now that the listener has ended.

        A job that was interrupted counts as cancelled unless everything says that it came to its
        end before that: a line alone can be forged, the completed hook does not run in a shutdown.
        """
        if not stopped or (self.had_job and not self.interrupted):
            return self.outcome.exit
        ended_well = self.ended.result() >= 0 and self.result not in (None, "Canceled")
        if self.had_job and not (ended_well and self._completed):
            return Exit.CANCELLED
        return Exit.DONE

    @property
    def outcome(self) -> outcomes.Outcome:
        """How it ended; only for one that has."""
        found = outcomes.outcome(self.ended.result())
        if self._deprecated and self.ended.result() == 1 and not self.had_job:
            return outcomes.NAMED[7]  # the variable that would make it say so was taken away
        if self.had_job or self.ended.result() != 0:
            return found
        return outcomes.DEREGISTERED if self._gone else outcomes.NO_JOB


@asynccontextmanager
async def listening(
    root: RunnerFolder, env: Mapping[str, str], listener: Listener
) -> AsyncIterator[None]:
    """Run the listener within the block; after it, nothing that it or its jobs started is left."""
    command = Command((root.listener, "run"), env, root.path, root.user)
    async with running(command, listener.hear) as listener.process:
        log.info("runner.started", pid=listener.process.pid)
        try:
            yield
        finally:
            if listener.ended.done():
                await listener.process.heard_out()
                found = listener.outcome
                log.info(
                    "runner.ended",
                    code=listener.ended.result(),
                    outcome=found.name,
                    meaning=found.meaning,
                )
