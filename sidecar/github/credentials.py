"""The agent's credential for GitHub: a personal access token, or a GitHub App."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sidecar.github.answers import read_field, read_moment, read_number
from sidecar.github.app_key import explain_key, read_app_key
from sidecar.github.errors import CredentialRefused
from sidecar.log import masks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sidecar.github.answers import Answer
    from sidecar.github.scope import Scope

    Call = Callable[[str, str, str], Awaitable[Answer]]

JWT_LIFETIME = 9 * 60
"""Seconds; GitHub accepts ten minutes at most."""
JWT_SKEW = 60
"""Seconds that the JWT is dated back, because clocks differ."""
SPARE = 5 * 60.0
"""Seconds before its end from which an installation token is not used any more."""


class Credential(Protocol):
    """A source of bearer tokens for one scope."""

    async def token(self, call: Call, scope: Scope) -> str:
        """Return a token that is valid now; `call(method, path, token)` asks GitHub for one."""

    def forget(self) -> bool:
        """Drop the token that GitHub refused; return whether there can be another."""


@dataclass(frozen=True, slots=True)
class Pat:
    """A personal access token: classic or fine-grained."""

    secret: str = field(repr=False)

    async def token(self, call: Call, scope: Scope) -> str:
        """Return the token as it is."""
        del call, scope
        return self.secret

    def forget(self) -> bool:
        """Do nothing: there is no other."""
        return False


def check_pat(secret: str, setting: str) -> str:
    """Check that a personal access token can be one. Raises CredentialRefused, without showing it.

    Else the HTTP client would refuse the header again and again, as if that could pass.
    """
    if not re.fullmatch(r"[!-~]+", secret):
        raise CredentialRefused(
            f"cannot use {setting}: it holds blanks, line ends or other characters that no access "
            "token has"
        )
    return secret


@dataclass(frozen=True, slots=True)
class Installation:
    """An App's installation for an account."""

    id: int
    permissions: Mapping[str, str]
    """What it may do: `read` or `write`, by the name of a permission."""
    suspended: bool


class App:
    """A GitHub App: looks up its installation for the scope, and keeps its token for an hour."""

    def __init__(self, app_id: str, key: str, now: Callable[[], float] = time.time) -> None:
        self._app_id = app_id
        self._key = key
        """In any form that `app_key` reads."""
        self._now = now
        self._held: tuple[str, float] | None = None
        self._installation: int | None = None

    def suggest_installation(self, number: int | None) -> None:
        """Use this installation for the next token; it is looked up where that does not exist."""
        self._installation = number

    async def token(self, call: Call, scope: Scope) -> str:
        """Return an installation token; get a new one if it is about to expire."""
        if self._held is None or self._held[1] - SPARE < self._now():
            self._held = await self._create_token(call, scope)
        return self._held[0]

    def forget(self) -> bool:
        """Get a new token the next time."""
        self._held = None
        return True

    async def _create_token(self, call: Call, scope: Scope) -> tuple[str, float]:
        for _ in range(2):
            if self._installation is None:
                self._installation = (await self.find_installation(call, scope)).id
            path = f"/app/installations/{self._installation}/access_tokens"
            answer = await call("POST", path, self.jwt())
            if answer.status == 201:
                token = str(read_field(answer.body, "token"))
                masks.hide(token)
                return token, read_moment(answer.body, "expires_at").timestamp()
            self._installation = None  # 404: the App was installed again; look it up again
        raise CredentialRefused(
            f"cannot mint a token: the App {self._app_id} has no installation for {scope.path} "
            "(SIDECAR_GITHUB_APP_ID)",
            404,
        )

    async def find_installation(self, call: Call, scope: Scope) -> Installation:
        """Ask for the App's installation for the scope. Raises PermissionDenied."""
        if scope.installation is None:
            raise CredentialRefused(
                "an App cannot register runners of an enterprise (SIDECAR_GITHUB_PAT)"
            )
        answer = await call("GET", scope.installation, self.jwt())
        if answer.status != 200:
            raise CredentialRefused(
                f"the App {self._app_id} is not installed for {scope.path} (SIDECAR_GITHUB_APP_ID)",
                answer.status,
            )
        number = read_number(answer.body, "id")
        given = answer.body.get("permissions")
        return Installation(
            number,
            dict(given) if isinstance(given, dict) else {},
            suspended=answer.body.get("suspended_at") is not None,
        )

    def jwt(self) -> str:
        """Sign the JWT by which GitHub knows the App (RS256, iss, iat, exp)."""
        import jwt  # late: cryptography is heavy, and only Apps need it

        now = int(self._now())
        claims = {"iat": now - JWT_SKEW, "exp": now + JWT_LIFETIME, "iss": self._app_id}
        try:
            return jwt.encode(claims, read_app_key(self._key) or "", algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            # Without the cause: its text may hold parts of the key.
            why = explain_key(self._key)
            raise CredentialRefused(f"SIDECAR_GITHUB_APP_KEY {why}") from None
