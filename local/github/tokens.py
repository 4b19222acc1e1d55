"""The tokens this GitHub gave out, of every kind, and which of them still hold."""

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from local.github.scope import Scope


@dataclass
class Token:
    """One bearer of rights. `scope` None means everywhere; times are seconds since 1970."""

    value: str
    kind: str  # registration, remove, pat, installation, tenant, runner, job
    scope: Scope | None
    expires_at: float
    permission: str = "write"  # or read, none
    runner_id: int = 0
    job_id: int = 0
    installation_id: int = 0
    permissions: dict[str, str] = field(default_factory=dict)
    used: int = 0

    def reaches(self, scope: Scope) -> bool:
        """Whether it is good for anything at `scope`."""
        if self.scope is None or self.scope.key == scope.key:
            return True
        return (
            self.scope.kind == "orgs"
            and scope.kind == "repos"
            and self.scope.owner.lower() == scope.owner.lower()
        )


class Tokens:
    """All tokens by their value."""

    def __init__(self) -> None:
        self._all: dict[str, Token] = {}

    def __iter__(self) -> Iterator[Token]:
        return iter(self._all.values())

    def add(self, token: Token) -> Token:
        """Make `token` known."""
        self._all[token.value] = token
        return token

    def valid(self, value: str, now: float, *kinds: str) -> Token | None:
        """Give the token if it is of one of `kinds` and has not expired."""
        token = self._all.get(value)
        if token is None or token.kind not in kinds or token.expires_at <= now:
            return None
        token.used += 1
        return token


def registration_text() -> str:
    """Look like GitHub's registration and remove tokens: 29 capitals and digits."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return "A" + "".join(secrets.choice(letters) for _ in range(28))


def web_token(kind: str, expires_at: float) -> str:
    """Look like a JSON web token, with a true `exp`; nobody but this GitHub can check it."""
    head = {"typ": "JWT", "alg": "RS256", "kid": secrets.token_hex(8)}
    claims = {"jti": secrets.token_hex(16), "scp": kind, "exp": int(expires_at)}
    parts = [json.dumps(each).encode() for each in (head, claims)] + [secrets.token_bytes(64)]
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts)
