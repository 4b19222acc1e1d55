"""The long request for the next message, and its silent repeats."""

import random
import time
from typing import Optional

from .address import Address
from .broker import Broker, BrokerError, error_kind, unauthorized
from .codes import GoneError, TerminatedError
from .misbehaviour import Misbehaviour
from .wire import Connection, Response, UnreachableError

_TRIES = 5
_REPEATED = (502, 503, 504)
_REPEATS = 5
_FINAL = (
    "RunnerNotFound",
    "RunnerVersionTooOld",
    "HostedRunnerDeprovisioned",
    "RunnerSessionInvalid",
)
_NEVER = float("inf")


class Poll:
    """One request at a time: sent, or waiting until it is sent again.

    A failed one is repeated five times by the listener, 5 to 15 s apart; within each of these
    502 to 504 are repeated five times by GitHub's client library, 11 s apart.
    """

    def __init__(self, broker: Broker, knobs: Misbehaviour) -> None:
        self._broker, self._knobs = broker, knobs
        at = Address(broker.url)
        self._at = at
        self._connection = Connection(at.host, at.port, at.secure, broker.client.wait)
        self.sent = False
        self.due = _NEVER
        self._status = "Online"
        self._tries = self._repeats = 0
        self._refused = False

    @property
    def active(self) -> bool:
        """Whether a request is under way or will be sent again."""
        return self.sent or self.due != _NEVER

    def fileno(self) -> int:
        """Be something to wait for."""
        return self._connection.fileno()

    def start(self, status: str, delay: float = 0.0) -> None:
        """Begin anew, after `delay` seconds."""
        self._status, self._tries, self._repeats, self._refused = status, 1, 0, False
        self.due = time.monotonic() + delay

    def cancel(self) -> None:
        """Drop the request."""
        self._connection.close()
        self.sent, self.due = False, _NEVER

    def send_if_due(self) -> None:
        """Send the request, if it is time for it."""
        if self.sent or time.monotonic() < self.due:
            return
        self.due = _NEVER
        target = self._at.path.rstrip("/") + "/" + self._broker.message_path(self._status)
        try:
            self._connection.send("GET", target, None, self._broker.authorization)
            self.sent = True
        except (UnreachableError, GoneError, TerminatedError) as error:
            self._again(UnreachableError(str(error)))

    def take(self) -> Optional[Response]:
        """Take the answer that is there; None if the request is repeated.

        Raises BrokerError, UnauthorizedError, and UnreachableError once all tries are used up.
        """
        self.sent = False
        try:
            response = self._connection.receive()
        except UnreachableError as error:
            self._connection.close()
            self._again(error)
            return None
        if response.status == 401:
            self._unauthorized()
            return None
        if response.good:
            return response
        if (kind := error_kind(response)) in _FINAL:
            raise BrokerError(kind, str(response.json().get("errorMessage")))
        if response.status in _REPEATED and self._repeats < _REPEATS:
            self._repeats += 1
            self.due = time.monotonic() + self._broker.client.delay()
            return None
        self._again(UnreachableError(self._describe(response)))
        return None

    def _unauthorized(self) -> None:
        self._broker.renew_token()
        if self._refused:
            raise unauthorized(self._broker.url + "message")
        self._refused = True
        self.due = time.monotonic()

    def _again(self, error: UnreachableError) -> None:
        if self._tries >= _TRIES:
            raise error
        self._tries, self._repeats = self._tries + 1, 0
        delay = self._knobs.seconds("request_retry_seconds", random.uniform(5, 15))
        self.due = time.monotonic() + delay

    def _describe(self, response: Response) -> str:
        name = response.reason.replace(" ", "")
        return (
            f"Failed to get job message. Request to {self._broker.url}message failed with status: "
            f"{name}. Error message Error: {response.reason}"
        )
