"""GitHub Apps, their installations, and the tokens (JWT) they prove themselves with."""

import base64
import binascii
import itertools
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.github.scope import Scope

PERMISSIONS = {
    "actions": "write",
    "administration": "write",
    "metadata": "read",
    "organization_self_hosted_runners": "write",
}


class NotAnAppError(Exception):
    """A JWT that proves nothing; the text is the message GitHub answers with."""


@dataclass
class Installation:
    """An App in an account. `repositories` empty means all of the account's."""

    id: int
    account: str
    account_type: str = "Organization"
    repositories: tuple[str, ...] = ()
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))
    suspended_at: float | None = None
    """When an owner suspended it, in seconds since 1970; None: it is not."""

    def covers(self, scope: Scope) -> bool:
        """Whether this installation reaches `scope`."""
        if scope.owner.lower() != self.account.lower() or scope.kind == "enterprises":
            return False
        if scope.kind == "orgs" or not self.repositories:
            return True
        return scope.repository.lower() in (name.lower() for name in self.repositories)


@dataclass
class App:
    """An App; its public key is kept as the two numbers that a signature is checked with."""

    id: int
    client_id: str
    slug: str
    modulus: int
    exponent: int
    installations: list[Installation]
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))
    """What it asks for; each installation has what was accepted there."""
    events: list[str] = field(default_factory=lambda: ["workflow_job"])


class Apps:
    """All Apps by id."""

    def __init__(self) -> None:
        self._all: dict[int, App] = {}
        self._ids = itertools.count(1001)
        self._installation_ids = itertools.count(50001)

    def __iter__(self) -> Iterator[App]:
        return iter(self._all.values())

    def add(self, slug: str, modulus: int, exponent: int = 65537) -> App:
        """Make an App without installations."""
        client_id = "Iv23li" + secrets.token_hex(7)
        app = App(next(self._ids), client_id, slug, modulus, exponent, [])
        self._all[app.id] = app
        return app

    def install(
        self, app: App, account: str, kind: str = "Organization", repositories: Sequence[str] = ()
    ) -> Installation:
        """Install `app` in `account`."""
        installation = Installation(
            next(self._installation_ids), account, kind, tuple(repositories)
        )
        app.installations.append(installation)
        return installation

    def verify_token(self, jwt: str, now: float) -> App:
        """Give the App that signed `jwt`. Raises NotAnAppError.

        Rules as GitHub documents them: RS256, `iat` not in the future, `exp` at most ten minutes
        ahead, `iss` the client id or the App's id.
        """
        try:
            signed, _, signature = jwt.rpartition(".")
            header, claims = (json.loads(_decode(part)) for part in signed.split("."))
            app = self._issuer(str(claims["iss"]))
            issued, expires = float(claims["iat"]), float(claims["exp"])
            good = header["alg"] == "RS256" and _verify(app, signed, _decode(signature))
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise NotAnAppError("A JSON web token could not be decoded") from error
        if not good:
            raise NotAnAppError("A JSON web token could not be decoded")
        if issued > now + 60:
            raise NotAnAppError("'Issued at' claim ('iat') must be an Integer in the past")
        if expires <= now:
            raise NotAnAppError("'Expiration time' claim ('exp') must be a time in the future")
        if expires > now + 660:
            raise NotAnAppError("'Expiration time' claim ('exp') is too far in the future")
        return app

    def _issuer(self, issuer: str) -> App:
        for app in self:
            if issuer in (app.client_id, str(app.id)):
                return app
        raise NotAnAppError("Integration not found")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _verify(app: App, signed: str, signature: bytes) -> bool:
    # RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.2): build what it must decrypt to, compare.
    import hashlib

    digest = hashlib.sha256(signed.encode()).digest()
    info = bytes.fromhex("3031300d060960864801650304020105000420") + digest
    length = (app.modulus.bit_length() + 7) // 8
    expected = b"\x00\x01" + b"\xff" * (length - len(info) - 3) + b"\x00" + info
    if len(signature) != length:
        return False
    number = pow(int.from_bytes(signature, "big"), app.exponent, app.modulus)
    return number.to_bytes(length, "big") == expected


def fresh_key() -> tuple[str, int, int]:
    """Make a key pair: private half as PEM, modulus, exponent (needs `cryptography`)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    numbers = key.public_key().public_numbers()
    return pem.decode(), numbers.n, numbers.e


def public_numbers(pem: str) -> tuple[int, int]:
    """Read modulus and exponent of a public key in PEM (needs `cryptography`)."""
    from cryptography.hazmat.primitives import serialization

    key: Any = serialization.load_pem_public_key(pem.encode())
    numbers = key.public_numbers()
    return numbers.n, numbers.e
