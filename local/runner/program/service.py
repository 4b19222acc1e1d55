"""The calls that configure and remove make."""

from typing import Any

from .address import Address
from .arguments import Arguments
from .codes import TerminatedError
from .misbehaviour import Misbehaviour
from .terminal import Terminal
from .wire import Connection, Response, UnreachableError


class Service:
    """GitHub and, once the token was accepted, what is behind it."""

    def __init__(self, url: str, terminal: Terminal, knobs: Misbehaviour) -> None:
        self.address = Address(url)
        self._url = url
        self._terminal = terminal
        self._knobs = knobs
        at = self.address
        self._connection = Connection(at.host, at.port, at.secure)
        self._grant = ""
        self.tenant = ""

    def token(self, arguments: Arguments, event: str) -> str:
        """Give the token to prove oneself with: `--token`, or one that `--pat` gets."""
        pat = arguments.option("pat")
        if not pat:
            value = arguments.option("token")
            if not value:
                reason = "Terminating unattended configuration."
                raise TerminatedError(f"Invalid configuration provided for token. {reason}")
            return value
        kind = "registration" if event == "register" else "remove"
        path = f"{self.address.api}{self.address.scope}/actions/runners/{kind}-token"
        response = self._connection.request("POST", path, None, f"Bearer {pat}")
        self._must(response, path)
        return str(response.json()["token"])

    def prove(self, token: str, event: str) -> None:
        """Trade the token for access. Three tries, but a 404 is final."""
        import random
        import time

        path = f"{self.address.api}/actions/runner-registration"
        body = {"url": self._url, "runner_event": event}
        for attempt in (1, 2, 3):
            try:
                response = self._connection.request("POST", path, body, f"RemoteAuth {token}")
                self._must(response, path)
            except (UnreachableError, TerminatedError) as error:
                if attempt == 3 or "404" in str(error):
                    raise
                self._terminal.trace("ConfigurationManager", f"Attempt {attempt}: {error}")
                time.sleep(self._knobs.seconds("retry_seconds", random.uniform(1, 5)))
            else:
                granted = response.json()
                self._grant, self.tenant = granted["token"], granted["url"]
                return

    def _must(self, response: Response, path: str) -> None:
        if not response.good:
            reason = response.reason.replace(" ", "")
            where = f"'POST {self.address.origin}{path}'"
            identity = f"(Request Id: {response.request_id})"
            self._terminal.error(f"Http response code: {reason} from {where} {identity}")
            self._terminal.error(response.text)
            raise TerminatedError(response.failure)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Call what is behind; gives the answer's JSON. Raises TerminatedError."""
        base = Address(self.tenant).path + "/_apis/distributedtask/"
        response = self._connection.request(method, base + path, body, f"Bearer {self._grant}")
        if not response.good:
            raise TerminatedError(response.message)
        return response.json() if response.text else None


def quoted(text: str) -> str:
    """Escape a text for a query."""
    safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
    escaped = (chr(byte) if chr(byte) in safe else f"%{byte:02X}" for byte in text.encode())
    return "".join(escaped)
