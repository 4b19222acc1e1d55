"""`run`: a session, messages, jobs; the end of all of them on a signal."""

import json
import os
import random
import select
import time
from typing import Any, Optional

from . import codes, misbehaviour
from .arguments import Arguments
from .broker import Broker, BrokerError, UnauthorizedError
from .client import Client
from .dispatching import Dispatch
from .misbehaviour import Misbehaviour
from .polling import Poll
from .removing import forget
from .sessions import Sessions
from .signals import Signals
from .store import NOT_CONFIGURED, SETTINGS, Store, truth
from .terminal import Terminal, now
from .wire import Response, UnreachableError

_UNLOAD_SECONDS = 30.0
_NEVER = float("inf")
_MOST_ERRORS = 10


class _StoppedError(Exception):
    """A signal came while something was waited for."""


class _EndedError(Exception):
    """The listener's work is done; `gone` where the runner is no longer GitHub's."""

    def __init__(self, *, gone: bool = False, keep_session: bool = False) -> None:
        super().__init__()
        self.gone, self.keep_session = gone, keep_session or gone


class _FatalError(Exception):
    """The listener ends with this text and code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def run(
    root: str, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour, signals: Signals
) -> int:
    """Listen for jobs; gives the exit code."""
    signals.configured()
    kind = knobs.read_kind("run")
    misbehaviour.leave(kind)
    if kind == "hang":
        misbehaviour.hang()
    store = Store(root)
    if blob := arguments.option("jitconfig"):
        try:
            _unpack(store, blob)
        except ValueError as error:
            terminal.error(str(error))
            return codes.TERMINATED
    if not store.has(SETTINGS):
        raise codes.TerminatedError(NOT_CONFIGURED)
    if arguments.flag("once"):
        terminal.line(
            "Warning: '--once' is going to be deprecated in the future, "
            "please consider using '--ephemeral' during runner registration."
        )
    if kind == "crash-before-listening":
        misbehaviour.crash()
    knobs.dawdle("run")
    listener = Listener(store, arguments, terminal, knobs, signals, kind)
    return listener.run()


def _unpack(store: Store, blob: str) -> None:
    """Write the files of a JIT configuration. Raises ValueError with .NET's own words."""
    import binascii
    import json

    try:
        files = json.loads(binascii.a2b_base64(blob))
        for name, content in files.items():
            store.save_raw(os.path.basename(name), binascii.a2b_base64(content))
    except (ValueError, AttributeError) as error:
        text = (
            "The input is not a valid Base-64 string as it contains a non-base 64 character, more "
            "than two padding characters, or an illegal character among the padding characters."
        )
        raise ValueError(text) from error


class Listener:
    """One life of the listener, from its session to its end."""

    def __init__(
        self,
        store: Store,
        arguments: Arguments,
        terminal: Terminal,
        knobs: Misbehaviour,
        signals: Signals,
        kind: str,
    ) -> None:
        self._store, self._terminal, self._knobs = store, terminal, knobs
        self._signals, self._kind = signals, kind
        self._settings = store.load(SETTINGS)
        self._ephemeral = truth(self._settings.get("ephemeral"))
        self._hosted = os.environ.get("ACTIONS_RUNNER_RETURN_JOB_RESULT_FOR_HOSTED") == "1"
        self._once = self._ephemeral or arguments.flag("once") or self._hosted
        self._client = Client(knobs, self._wait, self._sleep)
        self._broker = Broker(store, self._settings, self._client, knobs)
        self._sessions = Sessions(self._broker, terminal, knobs, self._sleep)
        self._poll = Poll(self._broker, knobs)
        self._dispatch: Optional[Dispatch] = None
        self._finished = False
        self._errors = self._refusals = 0
        self._deadline = _NEVER
        self._ending = False
        """Whether the end has begun, which no signal interrupts."""
        self._result = 0

    def run(self) -> int:
        """Live; gives the exit code."""
        try:
            code = self._sessions.open()
        except _StoppedError:
            return self._code()
        if code != codes.SUCCESS:
            return code
        self._terminal.line(f"Current runner version: '{codes.VERSION}'")
        self._terminal.stamp("Listening for Jobs")
        if self._kind == "crash-after-listening":
            misbehaviour.crash()
        if self._knobs.knob("spawn_daemon") == "listening":
            from .daemon import leave_behind

            leave_behind(self._store.root)
        return self._live()

    def _live(self) -> int:
        """Take messages until it is over, and clean up; gives the exit code."""
        ended = _EndedError()
        try:
            self._listen()
        except _StoppedError:
            pass
        except _EndedError as error:
            ended = error
        except _FatalError as error:
            self._clean_up(ended)
            self._terminal.error(f"An error occurred: {error}")
            return error.code
        self._clean_up(ended)
        return self._code()

    def _code(self) -> int:
        if self._signals.terminated and not self._signals.interrupted:
            given = self._knobs.knob("sigterm_exit_code")
            return codes.SIGTERM_RECEIVED if given is None else int(given)
        if self._finished and self._hosted:
            return codes.RESULT_OFFSET + self._result
        return codes.SUCCESS

    # Waiting

    def _wait(self, descriptor: int, write: bool) -> None:
        """Wait for a connection, unless a signal comes first."""
        end = time.monotonic() + 100
        while True:
            if self._signals.asked_to_stop and not self._ending:
                raise _StoppedError
            reads = [self._signals.wake] if write else [self._signals.wake, descriptor]
            left = max(0.0, min(end, self._deadline) - time.monotonic())
            writes = [descriptor] if write else []
            # Windows tells of a connection that failed only as an exception.
            ready, writable, failed = select.select(reads, writes, writes, left)
            if self._signals.wake in ready:
                self._signals.drain()
                ready.remove(self._signals.wake)
            if ready or writable or failed:
                return
            if left == 0:
                raise UnreachableError("The request was canceled due to its time-out.")

    def _sleep(self, seconds: float) -> None:
        end = min(time.monotonic() + seconds, self._deadline)
        while (left := end - time.monotonic()) > 0:
            if self._signals.asked_to_stop and not self._ending:
                raise _StoppedError
            if select.select([self._signals.wake], [], [], left)[0]:
                self._signals.drain()

    # Messages

    def _listen(self) -> None:
        while not self._signals.asked_to_stop:
            if self._finished and self._once:
                return
            try:
                self._turn()
            except (UnreachableError, codes.GoneError, codes.TerminatedError) as error:
                self._retry_later(error)
            except BrokerError as error:
                self._handle_refusal(error)
            except UnauthorizedError:
                text = "Get next message failed with non-retryable error."
                raise _FatalError(text, codes.TERMINATED) from None

    def _retry_later(self, error: Exception) -> None:
        """Print the first of several failures in a row; ask again after a while."""
        if self._errors == 0:
            line = f"Runner connect error: {error}. Retrying until reconnected."
            self._terminal.error(f"{now()}: {line}")
        self._errors += 1
        if self._errors >= _MOST_ERRORS:
            raise _FatalError(str(error), codes.RETRYABLE)
        self._poll.cancel()
        self._broker.renew_token()
        low, high = (15, 30) if self._errors <= _MOST_ERRORS // 2 else (30, 60)
        delay = self._knobs.seconds("poll_retry_seconds", random.uniform(low, high))
        self._poll.start(self._status, delay)

    def _handle_refusal(self, error: BrokerError) -> None:
        self._poll.cancel()
        if error.kind == "RunnerNotFound":
            text = "The runner no longer exists on the server. Cleaning up local configuration."
            self._terminal.error(text)
            raise _EndedError(gone=True)
        if error.kind == "RunnerVersionTooOld":
            raise _FatalError(str(error), _deprecated_code())
        if error.kind == "HostedRunnerDeprovisioned":
            raise _EndedError
        if self._sessions.open() != codes.SUCCESS:
            text = "Get next message failed with non-retryable error."
            raise _FatalError(text, codes.TERMINATED)

    @property
    def _status(self) -> str:
        return "Online" if self._dispatch is None else "Busy"

    def _turn(self) -> None:
        if not self._poll.active:
            self._poll.start(self._status)
        self._poll.send_if_due()
        answered = self._await_turn()
        if self._signals.asked_to_stop:
            return
        if self._dispatch is not None:
            self._dispatch.renew_if_due()
            if self._dispatch.ended():
                self._finish_job()
                return
        if answered:
            self._take_response(self._poll.take())

    def _await_turn(self) -> bool:
        """Wait until there is something to do; tell whether a message request is answered."""
        reads: list[Any] = [self._signals.wake]
        if self._poll.sent:
            reads.append(self._poll)
        left = self._poll.due - time.monotonic()
        if self._dispatch is not None:
            left = min(left, self._dispatch.due_in())
        timeout = None if left == _NEVER else max(0.0, left)
        ready = select.select(reads, [], [], timeout)[0]
        if self._signals.wake in ready:
            self._signals.drain()
        return self._poll in ready

    def _take_response(self, response: Optional[Response]) -> None:
        if response is None or response.status == 202 or not response.text:
            return
        self._errors = 0
        self._message(response.json())

    def _message(self, message: dict[str, Any]) -> None:
        kind = str(message["messageType"]).lower()
        body = json.loads(message.get("body") or "{}")
        if kind == "jobcancellation" and self._dispatch is not None:
            if self._dispatch.fits(str(body.get("jobId"))):
                self._dispatch.cancel("CancelRequest")
        elif kind == "runnerjobrequest":
            self._take_job(body)
        elif kind == "runnershutdown":
            raise _EndedError(keep_session=True)
        elif kind == "forcetokenrefresh":
            self._broker.renew_token()

    def _take_job(self, reference: dict[str, Any]) -> None:
        if self._dispatch is not None:
            return
        if reference.get("should_acknowledge"):
            try:
                self._broker.acknowledge(reference["runner_request_id"])
            except BrokerError as error:
                if error.kind == "AcknowledgeJobNotFound" and self._ephemeral:
                    self._finished = True
                    return
        job = self._broker.acquire(reference)
        if job is None:
            self._terminal.trace("Runner", "Skipping message Job.")
            self._sleep(self._knobs.seconds("acquire_retry_seconds", float(self._refusals)))
            self._refusals += 1
            return
        self._refusals = 0
        self._start(job)

    def _start(self, job: dict[str, Any]) -> None:
        given = (self._store.root, self._broker, self._terminal, job, self._knobs, self._signals)
        dispatch = Dispatch(*given)
        self._poll.cancel()
        self._poll.start("Busy")
        self._poll.send_if_due()
        if not dispatch.start():
            self._finished = True
            return
        self._dispatch = dispatch
        if self._kind == "crash-in-job":
            self._dispatch.wait_for_step()
            misbehaviour.crash()

    def _finish_job(self) -> None:
        if self._dispatch is None:
            return
        self._result = self._dispatch.finish()
        self._dispatch = None
        self._finished = True
        self._poll.cancel()

    # The end

    def _end_job(self) -> None:
        """Tell the worker to end, and wait: without limit, or 30 s after SIGTERM."""
        if self._dispatch is None:
            return
        self._dispatch.cancel("RunnerShutdown" if self._signals.asked_to_stop else "CancelRequest")
        while not self._dispatch.ended():
            if self._signals.terminated and not self._signals.interrupted:
                limit = self._knobs.seconds("unload_seconds", _UNLOAD_SECONDS)
                self._deadline = min(self._deadline, time.monotonic() + limit)
            left = self._deadline - time.monotonic()
            if left <= 0:
                codes.leave(codes.SIGTERM_RECEIVED)  # the worker is left behind, as in truth
            renew = min(left, self._dispatch.renew_in())
            timeout = None if renew == _NEVER else renew
            if select.select([self._signals.wake], [], [], timeout)[0]:
                self._signals.drain()
            self._dispatch.renew_if_due()
        self._dispatch.finish()
        self._dispatch = None

    def _clean_up(self, ended: _EndedError) -> None:
        completed = self._finished and self._once
        self._ending = True
        self._end_job()
        # From here nothing takes longer than this.
        limit = self._knobs.seconds("session_end_seconds", 30)
        self._deadline = min(self._deadline, time.monotonic() + limit)
        if not ended.keep_session:
            try:
                self._broker.close_session()
            except (
                codes.GoneError,
                codes.TerminatedError,
                UnreachableError,
                UnauthorizedError,
            ) as error:
                self._terminal.trace("Runner", f"Ignore any exception: {error}")
        self._poll.cancel()
        if (self._ephemeral and completed) or ended.gone:
            forget(self._store, self._terminal)


def _deprecated_code() -> int:
    asked = os.environ.get("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "").lower()
    return codes.VERSION_DEPRECATED if asked in ("1", "true") else codes.TERMINATED
