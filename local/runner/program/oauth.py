"""The runner's proof of itself: a signed assertion, traded for a bearer token."""

import binascii
import json
import time
from typing import Any
from urllib.parse import urlencode

from . import keys
from .client import Client
from .codes import GoneError, TerminatedError
from .identities import uuid
from .store import CREDENTIALS, KEY, Store

_KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Credential:
    """The key of a configured runner; gives tokens."""

    def __init__(self, store: Store, client: Client) -> None:
        data = store.load(CREDENTIALS)["data"]
        self._id, self._url = str(data["clientid"]), str(data["authorizationurl"])
        self._key = keys.read(store.load(KEY))
        self._calls = client

    def token(self) -> str:
        """Get a new token. Raises GoneError once GitHub has forgotten the runner."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _KIND,
            "client_assertion": self._assertion(),
        }
        body = urlencode(form).encode()
        content = "application/x-www-form-urlencoded"
        response = self._calls.ask("POST", self._url, body, content=content, oauth=True)
        if response.good:
            return str(response.json()["access_token"])
        if response.status == 400 and "invalid_client" in response.text:
            raise GoneError("invalid_client")
        raise TerminatedError(response.message)

    def _assertion(self) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {"sub": self._id, "jti": uuid(), "iss": self._id}
        claims.update(aud=self._url, nbf=now, exp=now + 300)
        head = {"typ": "JWT", "alg": "PS256"}
        signed = ".".join(_encode(json.dumps(each).encode()) for each in (head, claims))
        return f"{signed}.{_encode(keys.sign(self._key, signed.encode()))}"


def _encode(data: bytes) -> str:
    text = binascii.b2a_base64(data, newline=False).decode()
    return text.rstrip("=").replace("+", "-").replace("/", "_")
