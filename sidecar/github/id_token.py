"""Ask GitHub for a job's OIDC token, which says who the job is and which AWS verifies.

A job with `id-token: write` has a URL and a token for that (GitHub, "OpenID Connect reference").
They hold as long as the job; each OIDC token holds for minutes.
"""

from __future__ import annotations

import base64
import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import aiohttp

from sidecar.github.answers import read_answer
from sidecar.github.errors import GitHubError, TransientError
from sidecar.log import masks
from sidecar.net.proxy import find_proxy
from sidecar.net.trust import make_context

if TYPE_CHECKING:
    from collections.abc import Mapping

URL, TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
VARIABLES = (URL, TOKEN)
"""The variables by which the runner hands both to a job."""
LONGEST_TOKEN = 20_000
"""Characters of a token: STS takes 20,000 (AssumeRoleWithWebIdentity, `WebIdentityToken`)."""
TIMEOUT = aiohttp.ClientTimeout(total=2.5)
"""For one try: a second one must fit into the time that a job's hook waits."""
_ACTION = "cannot get the job's OIDC token from GitHub"


class IdTokens:
    """The tokens of one job. URL and bearer are secrets: there is no repr."""

    def __init__(self, url: str, bearer: str) -> None:
        self._url = url
        self._bearer = bearer
        masks.hide(url)
        masks.hide(bearer)

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> IdTokens | None:
        """Return a job's tokens; None if it may have none (`permissions: id-token: write`).

        Raises GitHubError for a URL to which nobody should send a secret.
        """
        url, bearer = variables.get(URL, ""), variables.get(TOKEN, "")
        if not url or not bearer:
            return None
        if not _is_safe(url) or not bearer.isprintable():
            raise GitHubError(f"{_ACTION}: {URL} is not a URL that begins with https://")
        return cls(url, bearer)

    async def read(self, audience: str) -> str:
        """Ask for a new token for `audience`. Raises TransientError or GitHubError."""
        url = f"{self._url}&audience={quote(audience, safe='')}"
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.get(
                    url,
                    headers={"Authorization": f"bearer {self._bearer}"},
                    allow_redirects=False,
                    ssl=make_context(),
                    **find_proxy(url),
                ) as response,
            ):
                answer = await read_answer(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # The library's text may quote the URL.
            raise TransientError(f"{_ACTION}: {type(error).__name__}") from error
        if answer.status != 200:
            kind = TransientError if answer.status >= 500 or answer.status == 429 else GitHubError
            raise kind(f"{_ACTION}: it answers {answer.status}")
        token = answer.body.get("value") if isinstance(answer.body, dict) else None
        if not isinstance(token, str) or not 0 < len(token) <= LONGEST_TOKEN:
            raise TransientError(f"{_ACTION}: its answer holds no token")
        masks.hide(token)
        return token


def read_claims(token: str) -> dict[str, Any]:
    """Return what a token says, without verifying it: AWS does that. Empty if unreadable."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _is_safe(url: str) -> bool:
    """Return whether a secret may be sent to a URL: by TLS, or to this machine itself."""
    try:
        parts = urlsplit(url)
        if not url.isascii() or not url.isprintable() or not parts.hostname or not parts.query:
            return False
        return parts.scheme == "https" or (
            parts.scheme == "http" and ip_address(parts.hostname).is_loopback
        )
    except ValueError:
        return False
