"""GitHub's issuer of OIDC tokens: its keys, and tokens for jobs.

In process with `serving()`; alone with `python -m local.oidc`. A job asks for a token as at GitHub:
`GET REQUEST_URL&audience=NAME` with its bearer. Tokens are made here by hand, with `cryptography`
alone, so that whoever verifies them by a library is judged by something else.
Source: GitHub, "OpenID Connect reference"; the toolkit's `core.getIDToken`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import secrets
import signal
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

JWKS = "/.well-known/jwks"
LIFE = 300
"""Seconds for which a token holds."""
EARLY = 600
"""Seconds that a token holds before it is made."""
_RUNS = itertools.count(1_000_001)


@dataclass(frozen=True)
class Key:
    """A key that tokens are signed by."""

    name: str
    private: RSAPrivateKey

    @classmethod
    def fresh(cls, bits: int = 2048) -> Key:
        """Make a key."""
        return cls(secrets.token_hex(20).upper(), generate_private_key(65537, bits))

    def to_jwk(self) -> dict[str, str]:
        """Return the public part, as the issuer lists it."""
        numbers = self.private.public_key().public_numbers()
        parts = {"n": numbers.n, "e": numbers.e}
        shown = {
            name: encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))
            for name, number in parts.items()
        }
        return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.name, **shown}


class Issuer:
    """Makes tokens. `url` is the issuer's own, which stands in each of them."""

    def __init__(self, url: str, now: Callable[[], float] = time.time) -> None:
        self.url = url
        self.now = now
        self.key = Key.fresh()
        """The key that signs now."""
        self.listed = [self.key]
        """The keys that are told; an old one stays for a while."""
        self.fetches = 0
        """How often the keys were asked for."""
        self.asked = 0
        """How often a job asked for a token."""
        self.is_down = False
        self._requests: dict[str, dict[str, Any]] = {}
        self._of_jobs: set[str] = set()

    def rotate(self) -> Key:
        """Sign by a new key from now on; the old ones stay listed."""
        self.key = Key.fresh()
        self.listed.append(self.key)
        return self.key

    def mint(self, audience: str = "runner-launcher", **claims: Any) -> str:
        """Make a token of a job with these claims; None takes a claim away."""
        return self.sign(make_claims(self.url, audience, int(self.now()), **claims))

    def sign(self, claims: Mapping[str, Any], **head: Any) -> str:
        """Sign any claims; `head` is added to the token's head."""
        top = {"typ": "JWT", "alg": "RS256", "x5t": self.key.name, "kid": self.key.name, **head}
        signed = f"{encode_json(top)}.{encode_json(claims)}"
        signature = self.key.private.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{encode(signature)}"

    def admit(self, **claims: Any) -> dict[str, str]:
        """Return the variables by which a job with these claims asks for its tokens."""
        name = secrets.token_hex(8)
        self._requests[name] = claims
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token/{name}?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": name[::-1],
        }

    def admit_job(self, **claims: Any) -> str:
        """Return the URL by which a job with these claims asks, with its own access token."""
        url = self.admit(**claims)["ACTIONS_ID_TOKEN_REQUEST_URL"]
        self._of_jobs.add(url.rpartition("/")[2].partition("?")[0])
        return url

    def list_keys(self) -> bytes:
        """Return the document that lists the public keys."""
        self.fetches += 1
        return json.dumps({"keys": [key.to_jwk() for key in self.listed]}).encode()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        if self.is_down:
            return web.Response(status=503)
        if request.path == JWKS:
            return web.Response(body=self.list_keys(), content_type="application/json")
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}{JWKS}"})
        if request.path == "/_local/tokens":
            return web.json_response({"value": self.mint(**json.loads(await request.read()))})
        name = request.path.removeprefix("/token/")
        authorization = request.headers.get("Authorization", "")
        right = authorization == f"bearer {name[::-1]}" or name in self._of_jobs
        if name not in self._requests or not right:
            return web.Response(status=401)
        self.asked += 1
        audience = request.query.get("audience", "")
        return web.json_response({"value": self.mint(audience, **self._requests[name])})


def make_claims(
    issuer: str,
    audience: str,
    now: int,
    *,
    repository: str = "octo/repo",
    repository_id: int = 7,
    owner_id: int = 3,
    ref: str = "refs/heads/main",
    immutable: bool = False,
    **more: Any,
) -> dict[str, Any]:
    """Make a job's claims as GitHub does. `immutable`: the subject holds the numbers, too."""
    run = next(_RUNS)
    owner, _, name = repository.partition("/")
    who = f"{owner}@{owner_id}/{name}@{repository_id}" if immutable else repository
    claims = {
        "jti": str(uuid.uuid4()),
        "sub": f"repo:{who}:ref:{ref}",
        "aud": audience,
        "iss": issuer,
        "nbf": now - EARLY,
        "iat": now,
        "exp": now + LIFE,
        "repository": repository,
        "repository_id": str(repository_id),
        "repository_owner": owner,
        "repository_owner_id": str(owner_id),
        "repository_visibility": "private",
        "event_name": "push",
        "ref": ref,
        "ref_type": "branch",
        "sha": "0123456789abcdef" * 2 + "01234567",
        "run_id": str(run),
        "run_number": "1",
        "run_attempt": "1",
        "check_run_id": str(run * 10),
        "runner_environment": "github-hosted",
        "actor": "mona",
        "actor_id": "11",
        "workflow": "build",
        **more,
    }
    return {key: value for key, value in claims.items() if value is not None}


def encode(data: bytes) -> str:
    """Return bytes in the alphabet of tokens."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode_json(document: Any) -> str:
    """Return a document in the alphabet of tokens."""
    return encode(json.dumps(document).encode())


@asynccontextmanager
async def serving() -> AsyncIterator[Issuer]:
    """Serve an issuer until the block is left."""
    issuer = Issuer("")
    async with listening(issuer.answer) as url:
        issuer.url = url
        yield issuer


async def _serve() -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving() as issuer:
        print(f"ready {issuer.url}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m local.oidc", description=__doc__).parse_args()
    asyncio.run(_serve())
