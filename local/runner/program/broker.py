"""The calls of a configured runner: its session, its messages, the jobs it takes."""

import os
from typing import Any, Callable, Optional
from urllib.parse import urlencode

from . import codes, locations, system
from .client import Client
from .codes import GoneError
from .misbehaviour import Misbehaviour
from .oauth import Credential
from .store import Store
from .wire import Response, UnreachableError

_NO_RETRY = (404, 409, 422)


class ConflictError(Exception):
    """Another listener holds the session."""


class ForbiddenError(Exception):
    """The call is refused for good."""


class UnauthorizedError(Exception):
    """The token is refused, and so was a fresh one."""


class BrokerError(Exception):
    """An answer that is an error of the broker's own kind."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Broker:
    """GitHub as the listener sees it."""

    def __init__(
        self, store: Store, settings: dict[str, Any], client: Client, knobs: Misbehaviour
    ) -> None:
        self.client, self._knobs = client, knobs
        self._settings = settings
        self._server = str(settings.get("serverurl") or "").rstrip("/")
        self.url = str(settings.get("serverurlv2") or settings["serverurl"]).rstrip("/") + "/"
        self.credential = Credential(store, client)
        self._token = ""
        self.session = ""

    def connect(self) -> None:
        """Find out where the service is, with nothing known of old."""
        self._token = ""
        if self._server and self._server != self.url.rstrip("/"):
            locations.find(self.client, self._server)

    def renew_token(self) -> None:
        """Forget the token; the next call gets a new one."""
        self._token = ""

    @property
    def authorization(self) -> str:
        """Give the header's value. Raises GoneError, UnreachableError, TerminatedError."""
        if not self._token:
            self._token = self.credential.token()
        return f"Bearer {self._token}"

    def call(self, method: str, path: str, body: object = None) -> Response:
        """Call; 401 is tried once more with a fresh token. Raises UnauthorizedError."""
        for _ in range(2):
            response = self.client.ask(method, self.url + path, body, self.authorization)
            if response.status != 401:
                return response
            self.renew_token()
        raise UnauthorizedError(_unauthorized(self.url + path))

    def open_session(self) -> None:
        """Say that a listener is here. Raises ConflictError, ForbiddenError, UnreachableError."""
        agent = {
            "id": int(self._settings["agentid"]),
            "name": self._settings["agentname"],
            "version": codes.VERSION,
            "osDescription": system.description(),
            "ephemeral": None,
            "status": 0,
            "provisioningState": None,
        }
        body = {
            "sessionId": "00000000-0000-0000-0000-000000000000",
            "ownerName": f"{system.host()} (PID: {os.getpid()})",
            "agent": agent,
            "useFipsEncryption": False,
        }
        response = self.call("POST", "session", body)
        if response.status == 409:
            raise ConflictError(f"Error: {response.reason}")
        if response.status == 403:
            raise ForbiddenError(f"Error: {response.reason}")
        if not response.good:
            raise UnreachableError(f"Failed to create broker session: Error: {response.reason}")
        self.session = str(response.json()["sessionId"])

    def close_session(self) -> None:
        """Say that it leaves."""
        if self.session:
            self.call("DELETE", "session")
            self.session = ""

    def _about(self, status: str) -> str:
        known = {"sessionId": self.session, "status": status, "runnerVersion": codes.VERSION}
        known.update(os=system.name(), architecture=system.architecture())
        return urlencode(known)

    def message_path(self, status: str) -> str:
        """Give the path of the long request for a message."""
        updates = str(str(self._settings.get("disableupdate")).lower() == "true").lower()
        return f"message?{self._about(status)}&disableUpdate={updates}"

    def acknowledge(self, request_id: str) -> None:
        """Acknowledge a job. Raises BrokerError; other failures do not count."""
        path = f"acknowledge?{self._about('Online')}"
        try:
            response = self.call("POST", path, {"runnerRequestId": request_id})
        except (UnreachableError, UnauthorizedError, GoneError, codes.TerminatedError):
            return
        if not response.good and (kind := error_kind(response)):
            raise BrokerError(kind, response.message)

    def acquire(self, reference: dict[str, Any]) -> Optional[dict[str, Any]]:
        """Fetch a job; None if it is not to be had."""
        import random

        body = {
            "jobMessageId": reference["runner_request_id"],
            "runnerOS": system.name(),
            "billingOwnerId": reference["billing_owner_id"],
        }
        url = str(reference["run_service_url"]).rstrip("/") + "/acquirejob"
        token = ""
        delay: Callable[[], float] = lambda: random.uniform(5, 15)  # noqa: E731
        for attempt in range(5):
            if attempt:
                self.client.pause(self._knobs.seconds("request_retry_seconds", delay()))
            try:
                token = token or self.credential.token()
                response = self.client.ask("POST", url, body, f"Bearer {token}")
            except (UnreachableError, codes.TerminatedError):
                continue
            if response.good:
                return dict(response.json())
            if response.status in _NO_RETRY:
                return None
        return None


def error_kind(response: Response) -> str:
    """Give the kind of an error that is the broker's own; "" for any other."""
    try:
        body = response.json()
        if body.get("source") == "actions-broker-listener":
            return str(body.get("errorKind") or "")
    except (ValueError, AttributeError):
        pass
    return ""


def unauthorized(url: str) -> UnauthorizedError:
    """Make the error of a call that is refused for its token."""
    return UnauthorizedError(_unauthorized(url))


def _unauthorized(url: str) -> str:
    return f"VS30063: You are not authorized to access {url}."
