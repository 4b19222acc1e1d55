"""The calls of a configured runner: its session, its messages, its jobs."""

import os
import select
from typing import Any, Optional
from urllib.parse import urlsplit

from . import system
from .codes import VERSION, GoneError, TerminatedError
from .store import CREDENTIALS, KEY, Store
from .wire import Connection, Response, Wait, blocking


class ConflictError(Exception):
    """Another listener holds the session."""


class Broker:
    """GitHub as the runner sees it, with a connection for calls and one for the long poll."""

    def __init__(self, store: Store, settings: dict[str, Any], wait: Wait = blocking) -> None:
        self.settings = settings
        self._credentials = store.load(CREDENTIALS)["data"]
        self._proof = store.load(KEY)["d"]
        server = urlsplit(str(settings.get("serverurlv2") or settings["serverurl"]))
        secure = server.scheme == "https"
        host, port = str(server.hostname), server.port or (443 if secure else 80)
        self._path = server.path.rstrip("/") + "/_apis"
        self._calls = Connection(host, port, secure, wait)
        self.poll = Connection(host, port, secure, wait)
        self.token = ""
        self.session = ""
        self.polling = False

    def authorize(self) -> None:
        """Trade the key for a token. Raises GoneError once GitHub has forgotten the runner."""
        path = urlsplit(self._credentials["authorizationurl"]).path
        body = {"client_id": self._credentials["clientid"], "proof": self._proof}
        response = self._calls.request("POST", path, body)
        if response.status == 400 and "invalid_client" in response.text:
            raise GoneError("invalid_client")
        if not response.good:
            raise TerminatedError(response.message)
        self.token = response.json()["access_token"]

    def call(self, method: str, path: str, body: object = None) -> Response:
        """Call with the token; 401 means it expired, and is tried once more with a fresh one."""
        response = self._calls.request(method, self._path + path, body, f"Bearer {self.token}")
        if response.status == 401:
            self.authorize()
            authorization = f"Bearer {self.token}"
            response = self._calls.request(method, self._path + path, body, authorization)
        return response

    @property
    def _pool(self) -> str:
        return f"/distributedtask/pools/{self.settings['poolid']}"

    def open_session(self) -> None:
        """Say that a listener is here. Raises ConflictError, GoneError, TerminatedError."""
        owner = f"{system.host()} (PID: {os.getpid()})"
        body = {"ownerName": owner, "version": VERSION}
        response = self.call("POST", f"{self._pool}/sessions", body)
        if response.status == 409:
            raise ConflictError(response.message)
        if response.status == 404:
            raise GoneError(response.message)
        if not response.good:
            raise TerminatedError(response.message)
        self.session = response.json()["sessionId"]

    def close_session(self) -> None:
        """Say that it leaves."""
        if self.session:
            self.stop_asking()
            self.call("DELETE", f"{self._pool}/sessions/{self.session}")
            self.session = ""

    def ask(self) -> None:
        """Ask for the next message; `answered` says when `take` will not wait."""
        path = f"{self._path}{self._pool}/messages?sessionId={self.session}"
        self.poll.send("GET", path, None, f"Bearer {self.token}")
        self.polling = True

    def stop_asking(self) -> None:
        """Drop the question."""
        self.poll.close()
        self.polling = False

    def answered(self) -> bool:
        """Whether the answer is there."""
        return self.polling and bool(select.select([self.poll], [], [], 0)[0])

    def take(self) -> Response:
        """Give the answer."""
        self.polling = False
        return self.poll.receive()

    def job(self, job_id: int, verb: str, body: Optional[dict[str, Any]] = None) -> Response:
        """Do something about a job: acquire, renew, feed, complete."""
        return self.call("POST", f"/jobs/{job_id}/{verb}", body or {})
