"""`run`: a session, messages, jobs; the end of all of them on a signal."""

import os
import select
import time
from typing import Any, Optional

from . import codes, misbehaviour
from .arguments import Arguments
from .broker import Broker, ConflictError
from .dispatching import Dispatch
from .misbehaviour import Misbehaviour
from .removing import forget
from .signals import Signals
from .store import SETTINGS, Store, truth
from .terminal import Terminal
from .wire import Response, UnreachableError

_DELETED = (
    "Failed to create a session. The runner registration has been deleted from the server, please "
    "re-configure. Runner registrations are automatically deleted for runners that have not "
    "connected to the service recently."
)
_UNLOAD_SECONDS = 30.0
_CONFLICT_SECONDS = 240.0


class _StoppedError(Exception):
    """A signal came while something was waited for."""


def run(
    root: str, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour, signals: Signals
) -> int:
    """Listen for jobs; gives the exit code."""
    signals.configured()
    kind = knobs.asked("run")
    misbehaviour.leave(kind)
    if kind == "hang":
        misbehaviour.hang()
    store = Store(root)
    if blob := arguments.option("jitconfig"):
        _unpack(store, blob)
    if not store.has(SETTINGS):
        text = "Not configured. Run config.(sh/cmd) to configure the runner."
        raise codes.TerminatedError(text)
    if arguments.flag("once"):
        terminal.line(
            "Warning: '--once' is going to be deprecated in the future, "
            "please consider using '--ephemeral' during runner registration."
        )
    if kind == "crash-before-listening":
        misbehaviour.crash()
    listener = Listener(store, arguments, terminal, knobs, signals, kind)
    return listener.run()


def _unpack(store: Store, blob: str) -> None:
    import binascii
    import json

    try:
        files = json.loads(binascii.a2b_base64(blob))
        for name, content in files.items():
            store.save_raw(os.path.basename(name), binascii.a2b_base64(content))
    except (ValueError, AttributeError) as error:
        text = "The input is not a valid Base-64 string as it contains a non-base 64 character."
        raise codes.TerminatedError(text) from error


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
        self._broker = Broker(store, self._settings, self._wait)
        self._dispatch: Optional[Dispatch] = None
        self._next_job: Optional[dict[str, Any]] = None
        self._finished = False
        self._troubled = False
        self._deadline = float("inf")
        self._result = 0

    def run(self) -> int:
        """Live; gives the exit code."""
        try:
            code = self._connect()
        except _StoppedError:
            return self._code()
        if code != codes.SUCCESS:
            return code
        self._terminal.line(f"Current runner version: '{codes.VERSION}'")
        self._terminal.stamped("Listening for Jobs")
        if self._kind == "crash-after-listening":
            misbehaviour.crash()
        if self._knobs.knob("spawn_daemon") == "listening":
            from .daemon import leave_behind

            leave_behind(self._store.root)
        try:
            self._listen()
        except _StoppedError:
            pass
        except codes.GoneError:
            self._gone()
            return codes.SUCCESS
        except _DeprecatedError as error:
            self._terminal.error(f"An error occurred: {error}")
            return _deprecated_code()
        self._shut_down()
        return self._code()

    def _code(self) -> int:
        if self._signals.terminated and not self._signals.interrupted:
            return int(self._knobs.knob("sigterm_exit_code") or codes.SIGTERM_RECEIVED)
        if self._finished and self._hosted:
            return codes.RESULT_OFFSET + self._result
        return codes.SUCCESS

    # Waiting

    def _wait(self, descriptor: int, write: bool) -> None:
        """Wait for a connection, unless a signal comes first."""
        end = time.monotonic() + 100
        while True:
            if self._signals.asked_to_stop and self._deadline == float("inf"):
                raise _StoppedError
            reads = [self._signals.wake] if write else [self._signals.wake, descriptor]
            left = max(0.0, min(end, self._deadline) - time.monotonic())
            ready, writable, _ = select.select(reads, [descriptor] if write else [], [], left)
            if self._signals.wake in ready:
                self._signals.drain()
                ready.remove(self._signals.wake)
            if ready or writable:
                return
            if left == 0:
                raise UnreachableError("The request was canceled due to its time-out.")

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._signals.asked_to_stop:
                raise _StoppedError
            if select.select([self._signals.wake], [], [], left)[0]:
                self._signals.drain()

    # The session

    def _connect(self) -> int:
        interval = self._knobs.seconds("session_retry_seconds", 30)
        limit = self._knobs.seconds("session_conflict_seconds", _CONFLICT_SECONDS)
        conflicts = 0
        while True:
            try:
                self._open()
            except codes.GoneError:
                self._terminal.error(_DELETED)
                return codes.TERMINATED
            except ConflictError as error:
                self._terminal.error("A session for this runner already exists.")
                conflicts += 1
                if conflicts > 1 and conflicts * interval >= limit:
                    self._terminal.error(
                        "Stop retry on SessionConflictException after retried for "
                        f"{limit:g} seconds."
                    )
                    self._terminal.error(f"Failed to create session. {error}")
                    return codes.SESSION_CONFLICT
                self._trouble(str(error))
            except UnreachableError as error:
                self._trouble(str(error))
            else:
                return codes.SUCCESS
            self._sleep(interval)

    def _open(self) -> None:
        self._broker.authorize()
        self._terminal.line()
        self._terminal.success("Connected to GitHub")
        self._terminal.line()
        self._broker.open_session()
        self._recovered()

    def _trouble(self, text: str) -> None:
        if not self._troubled:
            self._terminal.error(
                f"{_now()}: Runner connect error: {text}. Retrying until reconnected."
            )
        self._troubled = True

    def _recovered(self) -> None:
        if self._troubled:
            self._terminal.stamped("Runner reconnected.")
        self._troubled = False

    # Messages

    def _listen(self) -> None:
        while not self._signals.asked_to_stop:
            if self._finished and self._once:
                return
            try:
                self._turn()
            except UnreachableError as error:
                self._broker.stop_asking()
                self._trouble(str(error))
                self._pause()

    def _pause(self) -> None:
        """Wait before asking again, but not past the end of the job."""
        import random

        seconds = self._knobs.seconds("poll_retry_seconds", random.uniform(15, 30))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._signals.asked_to_stop:
            if select.select([self._signals.wake], [], [], left)[0]:
                self._signals.drain()
            if self._dispatch is not None and self._dispatch.ended():
                self._job_ended()
                return

    def _turn(self) -> None:
        if not self._broker.polling and not self._broker_gone():
            self._broker.ask()
        reads: list[Any] = [self._signals.wake]
        if self._broker.polling:
            reads.append(self._broker.poll)
        left = None if self._dispatch is None else self._dispatch.due_in()
        ready = select.select(reads, [], [], left)[0]
        if self._signals.wake in ready:
            self._signals.drain()
        if self._signals.asked_to_stop:
            return
        if self._dispatch is not None:
            self._dispatch.renew_if_due()
            if self._dispatch.ended():
                self._job_ended()
                return
        if self._broker.poll in ready:
            self._took(self._broker.take())

    def _broker_gone(self) -> bool:
        """Whether a once-only runner has its job: then an answer is nothing to it."""
        return self._dispatch is not None and self._dispatch.deaf

    def _took(self, response: Response) -> None:
        if response.status == 404:
            if self._dispatch is not None and self._once:
                self._dispatch.deaf = True
                return
            raise codes.GoneError(response.message)
        if response.status == 403 and "deprecated" in response.text:
            raise _DeprecatedError(response.message)
        if response.status == 401:
            self._broker.authorize()
            return
        if not response.good:
            raise UnreachableError(response.failure)
        self._recovered()
        if response.status == 200:
            self._message(response.json())

    def _message(self, message: dict[str, Any]) -> None:
        kind = message["messageType"]
        if kind == "JobCancellation" and self._dispatch is not None:
            self._dispatch.cancel("CancelRequest")
        elif kind == "RunnerJobRequest":
            acquired = self._broker.job(message["jobId"], "acquire")
            if not acquired.good:
                self._terminal.trace("Runner", f"Skipping message Job. {acquired.message}")
            elif self._dispatch is None:
                self._start(acquired.json())
            else:
                self._next_job = acquired.json()

    def _start(self, job: dict[str, Any]) -> None:
        self._dispatch = Dispatch(self._store.root, self._broker, self._terminal, job)
        if self._kind == "crash-in-job":
            self._dispatch.wait_for_step()
            misbehaviour.crash()

    def _job_ended(self) -> None:
        if self._dispatch is None:
            return
        self._result = self._dispatch.finish()
        self._dispatch = None
        self._finished = True
        if self._next_job is not None and not self._once:
            job, self._next_job = self._next_job, None
            self._start(job)

    # The end

    def _gone(self) -> None:
        self._terminal.error(
            "The runner no longer exists on the server. Cleaning up local configuration."
        )
        self._end_job()
        forget(self._store, self._terminal)

    def _end_job(self) -> None:
        if self._dispatch is None:
            return
        self._dispatch.cancel("RunnerShutdown")
        while not self._dispatch.ended():
            if self._signals.terminated and not self._signals.interrupted:
                limit = self._knobs.seconds("unload_seconds", _UNLOAD_SECONDS)
                self._deadline = min(self._deadline, time.monotonic() + limit)
            left = self._deadline - time.monotonic()
            if left <= 0:
                os._exit(codes.SIGTERM_RECEIVED)  # the worker is left behind, as in truth
            renew = min(left, self._dispatch.renew_in())
            if select.select([self._signals.wake], [], [], renew)[0]:
                self._signals.drain()
            self._dispatch.renew_if_due()
        self._dispatch.finish()
        self._dispatch = None

    def _shut_down(self) -> None:
        ended = self._finished and self._once
        self._end_job()
        # From here no signal interrupts, but nothing takes longer than this either.
        limit = self._knobs.seconds("session_end_seconds", 30)
        self._deadline = min(self._deadline, time.monotonic() + limit)
        try:
            self._broker.close_session()
        except (codes.GoneError, codes.TerminatedError, UnreachableError) as error:
            self._terminal.trace("Runner", f"Ignore any exception during DeleteSession. {error}")
        if self._ephemeral and ended:
            forget(self._store, self._terminal)


class _DeprecatedError(Exception):
    pass


def _deprecated_code() -> int:
    asked = os.environ.get("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "").lower()
    return codes.VERSION_DEPRECATED if asked in ("1", "true") else codes.TERMINATED


def _now() -> str:
    from .terminal import now

    return now()
