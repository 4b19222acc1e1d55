"""Start the worker of a job, and send it messages."""

import json
import os
import random
import time
from typing import TYPE_CHECKING, Any, Optional

from . import codes, message
from .broker import Broker
from .misbehaviour import Misbehaviour
from .signals import Signals
from .terminal import Terminal
from .wire import Response, UnreachableError

if TYPE_CHECKING:
    import subprocess

_NEVER = float("inf")
_RENEW_SECONDS = 60.0


class Dispatch:
    """One job on its worker."""

    def __init__(
        self,
        root: str,
        broker: Broker,
        terminal: Terminal,
        job: dict[str, Any],
        knobs: Misbehaviour,
        signals: Signals,
    ) -> None:
        self._broker, self._terminal, self._knobs = broker, terminal, knobs
        self._signals = signals
        self._root, self._job = root, message.Job(job)
        self._news = ""
        self._abandoned = False
        self._renew_at = 0.0
        self._worker: Optional[subprocess.Popen[bytes]] = None
        self._channel = -1
        terminal.stamp(f"Running job: {self._job.name}")

    def start(self) -> bool:
        """Renew the job, then start its worker; False if GitHub refuses the job."""
        for attempt in range(6):
            if attempt:
                seconds = random.uniform(1, 10)
                self._broker.client.pause(self._knobs.seconds("renew_retry_seconds", seconds))
            if self._renew() is not False:
                break
            if self._abandoned:
                return False
        else:
            return False
        self._start_worker()
        return True

    def _renew(self) -> Optional[bool]:
        """Renew: True, or False if that failed."""
        self._renew_at = time.monotonic() + self._knobs.seconds("renew_seconds", _RENEW_SECONDS)
        try:
            response = self._call("renewjob", self._identity())
        except UnreachableError as error:
            self._terminal.trace("JobDispatcher", f"Cannot renew the job: {error}")
            return False
        if response.status == 404:
            self._abandoned = True
        return response.good

    def _identity(self) -> dict[str, Any]:
        return {"planId": self._job.plan, "jobId": self._job.id}

    def _call(self, verb: str, body: dict[str, Any]) -> Response:
        url = f"{self._job.run_service}{verb}"
        return self._broker.client.ask("POST", url, body, f"Bearer {self._job.token}")

    def _start_worker(self) -> None:
        from . import children  # most listeners never get so far

        echo = os.environ.get("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT", "").lower() in ("1", "true")
        folder = os.path.join(self._root, "bin")
        self._worker, self._channel = children.start_worker(folder, echo, self._signals)
        self._send("NewJobRequest", self._job.body)

    def _send(self, kind: str, body: object = None) -> None:
        data = json.dumps({"messageType": kind, "body": body}).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._channel, data) :]
        except OSError as error:
            self._terminal.trace("JobDispatcher", f"Cannot reach the worker: {error}")

    def fits(self, job_id: str) -> bool:
        """Whether this is the job with that id."""
        return job_id.lower() == self._job.id.lower()

    def cancel(self, kind: str) -> None:
        """Tell the worker to end, with CancelRequest or RunnerShutdown: once only."""
        if self._news:
            return
        self._news = kind
        self._send(kind)

    def ended(self) -> bool:
        """Whether the worker is gone."""
        return self._worker is None or self._worker.poll() is not None

    def wait_for_step(self) -> None:
        """Give the job's first step the time to begin."""
        deadline = time.monotonic() + 30
        while not self.ended() and time.monotonic() < deadline and not self._grandchildren():
            time.sleep(0.01)

    def _grandchildren(self) -> bool:
        from .tree import descendants

        return self._worker is not None and bool(descendants(self._worker.pid))

    def renew_in(self) -> float:
        """Return the seconds until the job must be renewed at GitHub."""
        return _NEVER if self._abandoned else max(0.0, self._renew_at - time.monotonic())

    def due_in(self) -> float:
        """Seconds until there is something to do; its signal may be used up when it has ended."""
        return 0.0 if self.ended() else self.renew_in()

    def renew_if_due(self) -> None:
        """Tell GitHub that the job runs; if it says that the job is gone, end the job."""
        if self.renew_in() > 0 or self.ended():
            return
        if self._renew() is False and not self._abandoned:
            seconds = random.uniform(5, 15)
            again = self._knobs.seconds("renew_retry_seconds", seconds)
            self._renew_at = time.monotonic() + again
        if self._abandoned:
            self.cancel("CancelRequest")

    def finish(self) -> int:
        """Print the result; gives its number."""
        os.close(self._channel)
        code = (self._worker.returncode if self._worker else 0) or 0
        number = code - codes.RESULT_OFFSET
        if not 0 <= number < len(codes.RESULTS):
            number = codes.RESULTS.index("Failed")
            if not self._news:
                self._report_crash()
        if self._news:
            number = codes.RESULTS.index("Abandoned" if self._abandoned else "Canceled")
        self._terminal.stamp(f"Job {self._job.name} completed with result: {codes.RESULTS[number]}")
        return number

    def _report_crash(self) -> None:
        """Complete the job in the worker's place."""
        body = {**self._identity(), "conclusion": "failed", "stepResults": [], "annotations": []}
        try:
            self._call("completejob", body)
        except UnreachableError as error:
            self._terminal.trace("JobDispatcher", f"Cannot complete the job: {error}")
