"""Prove that a token of GitHub's may write to a repository, and find the repository's number.

An installation's token has to list the repository (GET /installation/repositories), a personal one
to be told of it (GET /repos/...); both with the permission to push. Reading proves nothing: any
token reads a public repository. Each answer is kept for a minute, also the bad ones.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import aiohttp

from launcher.api.answers import Refused
from launcher.errors import describe
from sidecar import github
from sidecar.github.api import Api

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = 60.0
"""Seconds."""
MOST = 1000
"""Answers that are kept."""
AT_ONCE = 10
"""Proofs that are under way at a time; who comes then is told to come later."""
PAGE, PAGES = 100, 10
INSTALLATION, PERSONAL = ("ghs_",), ("ghp_", "github_pat_")
"""The beginnings of tokens."""
AGAIN = 5.0


class Proof:
    """Asks one GitHub; leaving closes its connections."""

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._known: dict[str, tuple[float, int | Refused]] = {}
        self._asking = 0

    async def __aenter__(self) -> Proof:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def find_writable(self, token: str, repository: str) -> int:
        """Return the number of a repository that the token may write to. Raises Refused."""
        key = hashlib.sha256(f"{repository.lower()} {token}".encode()).hexdigest()
        at, known = self._known.get(key, (0.0, None))
        if known is None or self._clock() - at > KEPT:
            known = await self._ask(token, repository)
            self._known.pop(key, None)
            while len(self._known) >= MOST:
                self._known.pop(next(iter(self._known)))
            self._known[key] = self._clock(), known
        if isinstance(known, Refused):
            raise Refused(known.answer.status, str(known))
        return known

    async def _ask(self, token: str, repository: str) -> int | Refused:
        if not token.startswith((*INSTALLATION, *PERSONAL)):
            return Refused(403, "the token is neither an installation's nor a personal one")
        if self._asking >= AT_ONCE:
            raise Refused(503, "too many tokens are being proved: ask again", again_in=AGAIN)
        self._asking += 1
        try:
            return await self._prove(token, repository)
        except github.TransientError as error:
            reason = f"GitHub does not tell what the token may do: {describe(error)}"
            raise Refused(503, reason, again_in=AGAIN) from error
        except github.GitHubError:
            return Refused(403, "GitHub refuses the token, or hides the repository from it")
        finally:
            self._asking -= 1

    async def _prove(self, token: str, repository: str) -> int | Refused:
        api = self._open(token, repository)
        if token.startswith(INSTALLATION):
            found = await _find_listed(api, repository)
        else:
            answer = await api.call("GET", f"/repos/{repository}", expects={200: None}, tries=1)
            found = answer.body if _is_called(answer.body, repository) else None
        if found is None:
            return Refused(403, "the token is not for this repository")
        permissions, number = found.get("permissions"), found.get("id")
        if not isinstance(permissions, dict) or permissions.get("push") is not True:
            return Refused(403, "the token may not write to the repository")
        if type(number) is not int:
            return Refused(403, "GitHub does not tell the repository's number")
        return number

    def _open(self, token: str, repository: str) -> Api:
        if self._session is None:  # without trust_env: see sidecar.net.proxy
            # Without a jar: what is answered to one caller must not go with another's request.
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        scope = github.Scope.from_url(f"{self._server}/{repository}")
        return Api(self._session, scope, github.Pat(token))


async def _find_listed(api: Api, repository: str) -> dict[str, Any] | None:
    for page in range(1, PAGES + 1):
        path = f"/installation/repositories?per_page={PAGE}&page={page}"
        answer = await api.call("GET", path, expects={200: None}, tries=1)
        body = answer.body if isinstance(answer.body, dict) else {}
        listed = body.get("repositories")
        if not isinstance(listed, list):
            return None
        for each in listed:
            if _is_called(each, repository):
                return dict(each)
        if len(listed) < PAGE:
            return None
    return None


def _is_called(found: Any, repository: str) -> bool:
    """Whether this is the repository: one that was renamed is answered under its old name, too."""
    name = found.get("full_name") if isinstance(found, dict) else None
    return isinstance(name, str) and name.lower() == repository.lower()
