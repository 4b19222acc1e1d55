"""Send a job's steps and logs to GitHub's results service, in a thread.

Real steps send their log once they have ended, and live lines through a websocket; here the log's
own blob grows line by line, so that who looks sees the same.
"""

import _thread
import time
from typing import Any, Callable

from .client import Client
from .message import Job
from .misbehaviour import Misbehaviour
from .wire import UnreachableError

_BASE = "/twirp/results.services.receiver.Receiver"
_STEPS = "/twirp/github.actions.results.api.v1.WorkflowStepUpdateService/WorkflowStepsUpdate"
_PROGRESS, _COMPLETED = 3, 6
_CONCLUSIONS = {"": 0, "succeeded": 2, "failed": 3, "canceled": 4, "skipped": 7}


class Results:
    """The service, and a queue of what is to be sent to it."""

    def __init__(self, job: Job, knobs: Misbehaviour, trace: Callable[[str], None]) -> None:
        self._url = job.variables["system.github.results_endpoint"].rstrip("/")
        self._authorization = f"Bearer {job.token}"
        self._about = {
            "workflow_run_backend_id": job.plan,
            "workflow_job_run_backend_id": job.id,
        }
        self._client, self._trace = Client(knobs), trace
        self._waiting: list[Callable[[], None]] = []
        self._lock, self._filled, self._emptied = (_thread.allocate_lock() for _ in range(3))
        self._filled.acquire()
        self._emptied.acquire()
        self._ending = False
        self._order = 0
        self._blobs: dict[str, str] = {}
        self._all: list[str] = []
        _thread.start_new_thread(self._run, ())

    def drain(self) -> None:
        """Wait until everything is sent, the whole job's log last."""
        text = "".join(self._all)
        with self._lock:
            self._waiting.append(lambda: self._job_log(text))
            self._ending = True
        self._fill()
        self._emptied.acquire()

    def step(self, step: dict[str, Any]) -> None:
        """Tell what has become of a step."""
        started, ended = step["started_at"], step["completed_at"]
        about = {
            "external_id": step["external_id"],
            "number": step["number"],
            "name": step["name"],
            "status": _COMPLETED if ended else _PROGRESS,
            "started_at": started,
            "completed_at": ended,
            "conclusion": _CONCLUSIONS[step["conclusion"]],
        }
        self._later(lambda: self._update(about))

    def log(self, step_id: str, text: str) -> None:
        """Add to a step's log."""
        self._all.append(text)
        self._later(lambda: self._append(step_id, text))

    def end_log(self, step_id: str, lines: int) -> None:
        """Say how long a step's log has become."""
        self._later(lambda: self._log_metadata(step_id, lines))

    def summary(self, step_id: str, text: bytes) -> None:
        """Send a step's summary."""
        self._later(lambda: self._summary(step_id, text))

    # The thread

    def _later(self, what: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.append(what)
        self._fill()

    def _fill(self) -> None:
        if self._filled.locked():
            self._filled.release()

    def _run(self) -> None:
        while True:
            self._filled.acquire()
            while True:
                with self._lock:
                    if not self._waiting:
                        ending = self._ending  # asked for only now: nothing came after it
                        break
                    what = self._waiting.pop(0)
                try:
                    what()
                except Exception as error:  # noqa: BLE001 - a lost log must not end the job
                    self._trace(f"results: {error}")
            if ending:
                self._emptied.release()
                return

    # The calls

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._client.ask("POST", self._url + path, body, self._authorization)
        if not response.good:
            raise UnreachableError(response.message)
        return dict(response.json())

    def _put(self, url: str, data: bytes) -> None:
        response = self._client.ask("PUT", url, data, content="application/octet-stream")
        if not response.good:
            raise UnreachableError(response.failure)

    def _update(self, step: dict[str, Any]) -> None:
        self._order += 1
        self._post(_STEPS, {"steps": [step], "change_order": self._order, **self._about})

    def _append(self, step_id: str, text: str) -> None:
        if step_id not in self._blobs:
            body = {**self._about, "step_backend_id": step_id}
            url = str(self._post(f"{_BASE}/GetStepLogsSignedBlobURL", body)["logs_url"])
            self._put(url, b"")
            self._blobs[step_id] = url
        self._put(f"{self._blobs[step_id]}&comp=appendblock", text.encode())

    def _log_metadata(self, step_id: str, lines: int) -> None:
        body = {**self._about, "step_backend_id": step_id, "uploaded_at": moment()}
        self._post(f"{_BASE}/CreateStepLogsMetadata", {**body, "line_count": lines})

    def _job_log(self, text: str) -> None:
        url = str(self._post(f"{_BASE}/GetJobLogsSignedBlobURL", self._about)["logs_url"])
        self._put(url, text.encode())
        body = {**self._about, "uploaded_at": moment(), "line_count": text.count("\n")}
        self._post(f"{_BASE}/CreateJobLogsMetadata", body)

    def _summary(self, step_id: str, data: bytes) -> None:
        body = {**self._about, "step_backend_id": step_id}
        url = str(self._post(f"{_BASE}/GetStepSummarySignedBlobURL", body)["summary_url"])
        self._put(url, data)
        body = {**body, "uploaded_at": moment()}
        self._post(f"{_BASE}/CreateStepSummaryMetadata", {**body, "size": len(data)})


def moment() -> str:
    """Give the time as the service wants it."""
    seconds = time.time()
    fraction = f"{seconds % 1:.3f}"[1:]
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
