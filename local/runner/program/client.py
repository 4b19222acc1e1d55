"""Calls to whatever address, with the repeats that GitHub's own client library makes."""

from typing import Callable, Optional

from .address import Address
from .misbehaviour import Misbehaviour
from .wire import Connection, Response, Wait, blocking

_REPEATED = (502, 503, 504)
_REPEATS = 5
_SECONDS = 11.0
Pause = Callable[[float], None]


class Client:
    """Keeps a connection to each address. `pause` sleeps, unless something else comes first."""

    def __init__(
        self, knobs: Misbehaviour, wait: Wait = blocking, pause: Optional[Pause] = None
    ) -> None:
        self._knobs, self.wait = knobs, wait
        self.pause = pause or _sleep
        self._connections: dict[tuple[str, int, bool], Connection] = {}

    def once(self, method: str, url: str, body: object = None, authorization: str = "") -> Response:
        """Ask once. Raises UnreachableError."""
        return self._ask(method, url, body, authorization, "application/json")

    def ask(
        self,
        method: str,
        url: str,
        body: object = None,
        authorization: str = "",
        content: str = "application/json",
        oauth: bool = False,
    ) -> Response:
        """Ask; 502, 503 and 504 (for a token: 500 as well) are asked again, silently."""
        repeated = (500, *_REPEATED) if oauth else _REPEATED
        for _ in range(_REPEATS):
            response = self._ask(method, url, body, authorization, content)
            if response.status not in repeated:
                return response
            self.pause(self.delay())
        return self._ask(method, url, body, authorization, content)

    def delay(self) -> float:
        """Give the seconds between two such tries."""
        return self._knobs.seconds("sdk_retry_seconds", _SECONDS)

    def _ask(
        self, method: str, url: str, body: object, authorization: str, content: str
    ) -> Response:
        at = Address(url)
        return self.connection(at).request(method, at.target, body, authorization, content)

    def connection(self, at: Address) -> Connection:
        """Give the connection to an address."""
        place = (at.host, at.port, at.secure)
        if place not in self._connections:
            self._connections[place] = Connection(*place, self.wait)
        return self._connections[place]


def _sleep(seconds: float) -> None:
    import time

    time.sleep(seconds)
