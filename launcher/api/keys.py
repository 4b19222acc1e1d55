"""Keep the public keys by which GitHub signs its OIDC tokens.

They are fetched when they are first needed, again after an hour, and once for a key that is not
known: GitHub has begun to sign by a new one, or somebody has made it up. So that nobody can have
them fetched again and again, this happens once in half a minute, whoever asks.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from sidecar.net.proxy import find_proxy
from sidecar.net.trust import make_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

log = structlog.get_logger()

PATH = "/.well-known/jwks"
"""Below the issuer, of github.com as of a server of one's own."""
KEPT = 3600.0
"""Seconds for which keys are used without being fetched again."""
LONGEST = 24 * 3600.0
"""Seconds for which they are used while they cannot be fetched."""
AGAIN = 30.0
"""Seconds between two fetches."""
TIMEOUT = 5.0
"""Seconds for one fetch."""
LARGEST = 256 * 1024
"""Bytes of the answer."""
MOST_KEYS = 50
SHORTEST_KEY = 2048
"""Bits."""
SETTING = "LAUNCHER_API_ISSUER"


class NoKeys(Exception):
    """The keys cannot be had now."""


class Keys:
    """The keys of one issuer; `fetch` returns the document that lists them."""

    def __init__(
        self, fetch: Callable[[], Awaitable[bytes]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Mapping[str, RSAPublicKey] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._fetching = asyncio.Lock()

    async def find(self, name: str) -> RSAPublicKey | None:
        """Return the key of this name; None where GitHub has none. Raises NoKeys."""
        if name not in self._keys or self._clock() - self._fetched_at > KEPT:
            await self._refresh(name)
        if self._clock() - self._fetched_at > LONGEST:
            raise NoKeys("the keys of GitHub's OIDC tokens cannot be fetched")
        return self._keys.get(name)

    async def _refresh(self, name: str) -> None:
        """Fetch the keys, unless that was tried just now. Where it fails the old ones stay."""
        async with self._fetching:  # the others wait for this fetch, and do not begin their own
            if self._clock() - self._tried_at < AGAIN:
                return
            if name in self._keys and self._clock() - self._fetched_at <= KEPT:
                return
            self._tried_at = self._clock()
            try:
                async with asyncio.timeout(TIMEOUT):
                    self._keys = read_keys(await self._fetch())
            except (OSError, TimeoutError, ValueError, aiohttp.ClientError) as error:
                reason = f"{str(error) or type(error).__name__} ({SETTING})"
                log.error("keys.failed", reason=reason)  # noqa: TRY400
                return
            self._fetched_at = self._clock()
            log.info("keys.fetched", keys=sorted(self._keys))


def make_fetch(issuer: str, session: aiohttp.ClientSession) -> Callable[[], Awaitable[bytes]]:
    """Make what fetches the keys of an issuer."""
    url = f"{issuer}{PATH}"

    async def fetch() -> bytes:
        # A redirect would let another site say which keys are GitHub's.
        async with session.get(
            url, allow_redirects=False, ssl=make_context(), **find_proxy(url)
        ) as answer:
            if answer.status != 200:
                raise ValueError(f"cannot fetch {url}: HTTP {answer.status}")
            found = await answer.content.read(LARGEST + 1)
            while len(found) <= LARGEST and (more := await answer.content.read(LARGEST)):
                found += more
        if len(found) > LARGEST:
            raise ValueError(f"cannot fetch {url}: it has more than {LARGEST} bytes")
        return found

    return fetch


def read_keys(text: bytes) -> dict[str, RSAPublicKey]:
    """Read the document: those of its keys that sign by RS256. Raises ValueError."""
    document = json.loads(text)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("cannot read the keys: the document has no list of keys")  # noqa: TRY004
    keys: dict[str, RSAPublicKey] = {}
    for each in listed[:MOST_KEYS]:
        if (key := _read_key(each)) is not None:
            keys[str(each["kid"])] = key
    if not keys:
        raise ValueError("cannot read the keys: none of them signs by RS256")
    return keys


def _read_key(found: Any) -> RSAPublicKey | None:
    if not isinstance(found, dict) or not isinstance(found.get("kid"), str):
        return None
    if found.get("kty") != "RSA" or found.get("use", "sig") != "sig":
        return None
    if found.get("alg", "RS256") != "RS256":
        return None
    public = {name: found.get(name) for name in ("kty", "n", "e")}  # never a private part
    try:
        key = RSAAlgorithm.from_jwk(public)
    except (jwt.InvalidKeyError, ValueError, TypeError):
        return None
    is_strong = isinstance(key, RSAPublicKey) and key.key_size >= SHORTEST_KEY
    return key if is_strong else None  # type: ignore[return-value]  # it is one
