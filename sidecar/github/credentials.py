"""Who the agent is to GitHub: a personal access token, or the installation of an App."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sidecar.log import events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.github.api import Answer
    from sidecar.github.scope import Scope

    Call = Callable[[str, str, str], Awaitable[Answer]]

JWT_LIFETIME = 9 * 60
"""Seconds; GitHub accepts ten minutes at most."""
JWT_SKEW = 60
"""Seconds that the JWT is dated back, against clocks that differ."""
SPARE = 5 * 60.0
"""Seconds before its end from which an installation token is not used any more."""


class Credential(Protocol):
    """Something that yields a bearer token for one scope."""

    async def token(self, call: Call, scope: Scope) -> str:
        """Return a token that is good now; `call(method, path, token)` asks GitHub for one."""

    def forget(self) -> bool:
        """Take note that GitHub refused the token; whether there can be another."""


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


class App:
    """A GitHub App; its installation is found by the scope, and its token kept for an hour."""

    def __init__(self, app_id: str, key: str, now: Callable[[], float] = time.time) -> None:
        self._app_id = app_id
        self._key = key
        self._now = now
        self._held: tuple[str, float] | None = None
        self._installation: int | None = None

    async def token(self, call: Call, scope: Scope) -> str:
        """Return an installation token; mints one if the held one is about to end."""
        if self._held is None or self._held[1] - SPARE < self._now():
            self._held = await self._minted(call, scope)
        return self._held[0]

    def forget(self) -> bool:
        """Mint a new token the next time."""
        self._held = None
        return True

    async def _minted(self, call: Call, scope: Scope) -> tuple[str, float]:
        from sidecar.github.api import Denied, field_of, moment_of

        for _ in range(2):
            if self._installation is None:
                self._installation = await self._found(call, scope)
            path = f"/app/installations/{self._installation}/access_tokens"
            answer = await call("POST", path, self.jwt())
            if answer.status == 201:
                token = str(field_of(answer.body, "token"))
                events.hide(token)
                return token, moment_of(answer.body, "expires_at").timestamp()
            self._installation = None  # 404: the App was installed anew; look again
        raise Denied(
            f"cannot mint a token: the App {self._app_id} has no installation for {scope.path} "
            "(SIDECAR_GITHUB_APP_ID)",
            404,
        )

    async def _found(self, call: Call, scope: Scope) -> int:
        from sidecar.github.api import Denied, number_of

        if scope.installation is None:
            raise Denied("an App cannot register runners of an enterprise (SIDECAR_GITHUB_PAT)")
        answer = await call("GET", scope.installation, self.jwt())
        if answer.status != 200:
            raise Denied(
                f"the App {self._app_id} is not installed for {scope.path} (SIDECAR_GITHUB_APP_ID)",
                answer.status,
            )
        return number_of(answer.body, "id")

    def jwt(self) -> str:
        """Sign what tells GitHub that we are the App (RS256, iss, iat, exp)."""
        import jwt  # cryptography is heavy, and only Apps need it

        from sidecar.github.api import Denied

        now = int(self._now())
        claims = {"iat": now - JWT_SKEW, "exp": now + JWT_LIFETIME, "iss": self._app_id}
        try:
            return jwt.encode(claims, self._key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            # Without the cause: its text may hold parts of the key.
            raise Denied("SIDECAR_GITHUB_APP_KEY holds no RSA private key in PEM form") from None
