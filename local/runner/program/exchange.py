"""GitHub's own side of configure and remove: a token is traded for access to the service."""

from typing import Any

from .address import Address
from .arguments import Arguments
from .client import Client
from .codes import TerminatedError
from .misbehaviour import Misbehaviour
from .terminal import Terminal
from .wire import Response, UnreachableError

_TRIES = 3


class Exchange:
    """One GitHub, as the URL given to `configure` names it."""

    def __init__(self, url: str, client: Client, terminal: Terminal, knobs: Misbehaviour) -> None:
        self.address = Address(url)
        self.url = url
        self._client, self._terminal, self._knobs = client, terminal, knobs

    def token(self, arguments: Arguments, event: str) -> str:
        """Give the token to prove oneself with: `--token`, or one that `--pat` gets."""
        pat = arguments.option("pat")
        if not pat:
            value = arguments.option("token")
            if not value:
                reason = "Terminating unattended configuration."
                raise TerminatedError(f"Invalid configuration provided for token. {reason}")
            return value
        import binascii

        kind = "registration" if event == "register" else "remove"
        path = f"{self.address.scope}/actions/runners/{kind}-token"
        basic = binascii.b2a_base64(f"github:{pat}".encode(), newline=False).decode()
        return str(self.call("POST", path, None, f"basic {basic}").json()["token"])

    def exchange(self, token: str, event: str) -> dict[str, Any]:
        """Trade the token: `url`, `token` and `use_v2_flow` of the service behind GitHub."""
        body = {"url": self.url, "runner_event": event}
        path = "/actions/runner-registration"
        granted = dict(self.call("POST", path, body, f"RemoteAuth {token}").json())
        if not granted.get("use_v2_flow"):
            self._same_host(str(granted["url"]))
        return granted

    def _same_host(self, tenant: str) -> None:
        place, own = Address(tenant).place, self.address.place
        if place != own and not place.endswith("." + own):
            raise TerminatedError(
                "GitHub Actions is not properly configured in GHES. "
                f"GHES url: {self.url}, Actions url: {tenant}."
            )

    def call(
        self, method: str, path: str, body: object, authorization: str, printed: str = ""
    ) -> Response:
        """Call the API: three tries, 1 to 5 s apart, but a 404 is final."""
        import random

        url = self.address.origin + self.address.api + path
        for attempt in range(1, _TRIES + 1):
            final = attempt == _TRIES
            try:
                response = self._client.once(method, url, body, authorization)
                if response.good:
                    return response
                self._refused(response, f"{printed or method} {self._shown(path)}")
                final = final or response.status == 404
                failure: Exception = TerminatedError(response.failure)
            except UnreachableError as error:
                failure = error
            if final:
                raise failure
            self._terminal.trace("ConfigurationManager", f"Attempt {attempt}: {failure}")
            self._client.pause(self._knobs.seconds("retry_seconds", random.uniform(1, 5)))
        raise AssertionError("not reached")

    def _shown(self, path: str) -> str:
        return self.address.printed + self.address.api + path

    def _refused(self, response: Response, call: str) -> None:
        reason = response.reason.replace(" ", "")
        identity = f"(Request Id: {response.request_id})"
        self._terminal.error(f"Http response code: {reason} from '{call}' {identity}")
        self._terminal.error(response.text)
