"""The listener's side of a job: the worker's process and what is said to it."""

import json
import os
import subprocess
import time
from typing import Any

from . import codes
from .broker import Broker
from .terminal import Terminal
from .wire import UnreachableError


class Dispatch:
    """One job on its worker."""

    def __init__(self, root: str, broker: Broker, terminal: Terminal, job: dict[str, Any]) -> None:
        self._broker, self._terminal, self._job = broker, terminal, job
        self._canceled = False
        self.deaf = False
        self._lock = float(job["lock_seconds"])
        self._renewed = time.monotonic()
        terminal.stamped(f"Running job: {job['name']}")
        reading, self._channel = os.pipe()
        echo = os.environ.get("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT", "").lower() in ("1", "true")
        self._worker = subprocess.Popen(
            [os.path.join(root, "bin", "Runner.Worker"), "spawnclient", str(reading)],
            cwd=os.path.join(root, "bin"),
            stdin=subprocess.DEVNULL,
            stdout=None if echo else subprocess.DEVNULL,
            pass_fds=[reading],
        )
        os.close(reading)
        self._send("NewJobRequest", job)

    def _send(self, kind: str, body: object = None) -> None:
        data = json.dumps({"messageType": kind, "body": body}).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._channel, data) :]
        except OSError as error:
            self._terminal.trace("JobDispatcher", f"Cannot reach the worker: {error}")

    def cancel(self, kind: str) -> None:
        """Tell the worker to end, with CancelRequest or RunnerShutdown."""
        self._canceled = True
        self._send(kind)

    def ended(self) -> bool:
        """Whether the worker is gone."""
        return self._worker.poll() is not None

    def wait_for_step(self) -> None:
        """Give the job's first step the time to begin."""
        deadline = time.monotonic() + 30
        while not self.ended() and time.monotonic() < deadline and not self._grandchildren():
            time.sleep(0.01)

    def _grandchildren(self) -> bool:
        from .tree import descendants

        return bool(descendants(self._worker.pid))

    def renew_in(self) -> float:
        """Seconds until GitHub must hear again that the job runs."""
        return max(0.0, self._renewed + self._lock - time.monotonic())

    def due_in(self) -> float:
        """Seconds until there is something to do; its signal may be used up when it has ended."""
        return 0.0 if self.ended() else self.renew_in()

    def renew_if_due(self) -> None:
        """Tell GitHub that the job runs."""
        if self.renew_in() > 0 or self.ended():
            return
        self._renewed = time.monotonic()
        try:
            self._broker.job(self._job["id"], "renew")
        except (UnreachableError, codes.GoneError, codes.TerminatedError) as error:
            self._terminal.trace("JobDispatcher", f"Cannot renew the job: {error}")

    def finish(self) -> int:
        """Print the result; gives its number."""
        os.close(self._channel)
        number = (self._worker.returncode or 0) - codes.RESULT_OFFSET
        crashed = not 0 <= number < len(codes.RESULTS)
        if crashed:
            number = codes.RESULTS.index("Failed")
        if self._canceled:
            number = codes.RESULTS.index("Canceled")
        self._terminal.stamped(
            f"Job {self._job['name']} completed with result: {codes.RESULTS[number]}"
        )
        if crashed:
            self._report(codes.RESULTS[number])
        return number

    def _report(self, result: str) -> None:
        try:
            self._broker.job(self._job["id"], "complete", {"result": result.lower()})
        except (UnreachableError, codes.GoneError, codes.TerminatedError) as error:
            self._terminal.trace("JobDispatcher", f"Cannot complete the job: {error}")
