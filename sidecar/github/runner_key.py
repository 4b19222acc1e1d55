"""A registered runner's own key: read it, and sign with it that one is this runner."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sidecar.github.errors import GitHubError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_FILE = 64 * 1024
LONGEST_NUMBER = 1024
"""Bytes of one number of a key (4096 bits have 512): no key may keep the agent busy."""
LIFETIME = 5 * 60
"""Seconds that an assertion is good for, as the runner itself asks (VssOAuthJwtBearerAssertion)."""
NUMBERS = ("d", "dp", "dq", "exponent", "inverseq", "modulus", "p", "q")


@dataclass(frozen=True, slots=True)
class RunnerKey:
    """The key that `configure` made for a runner, and where GitHub takes it.

    Who may make one from what: **a job can write the files in the runner's folder.** So the two
    texts must come from where no job has been: the copy that the agent took between `configure`
    and the start of the listener, on a folder in which nothing of an earlier job runs, or the JIT
    configuration itself. With a text that a job wrote, GitHub answers `invalid_client`, and the
    runner would count as gone while the job keeps the real key.
    """

    client_id: str
    authorization_url: str
    """Where to ask. ActionsService checks its host against the settings (is_service_url)."""
    algorithm: str
    numbers: Mapping[str, int] = field(repr=False)

    @classmethod
    def read(cls, credentials: bytes, rsa_parameters: bytes) -> RunnerKey:
        """Read the contents of `.credentials` and `.credentials_rsaparams`.

        Keys are matched in any case, after an optional BOM (`configure` writes camelCase, a JIT
        configuration PascalCase). On Windows the second file is encrypted, and must be decrypted
        before. Raises GitHubError for anything else.
        """
        data = _object(_object(_json(credentials, ".credentials")).get("data"))
        client, url = data.get("clientid"), data.get("authorizationurl")
        numbers = _object(_json(rsa_parameters, ".credentials_rsaparams"))
        if not isinstance(client, str) or not isinstance(url, str):
            raise GitHubError("cannot read the runner's key: .credentials is not as expected")
        fips = str(data.get("requirefipscryptography", "")).lower() == "true"
        return cls(
            client,
            url,
            "PS256" if fips else "RS256",
            {name: _number(numbers.get(name)) for name in NUMBERS},
        )

    def assertion(self, now: float) -> str:
        """Sign that the sender is this runner (RFC 7523); takes some milliseconds of CPU.

        Raises GitHubError if the numbers make no RSA key.
        """
        # cryptography is heavy, and only this question needs it.
        import jwt
        from cryptography.hazmat.primitives.asymmetric import rsa

        number = self.numbers
        public = rsa.RSAPublicNumbers(number["exponent"], number["modulus"])
        private = rsa.RSAPrivateNumbers(
            number["p"],
            number["q"],
            number["d"],
            number["dp"],
            number["dq"],
            number["inverseq"],
            public,
        )
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.authorization_url,
            "jti": str(uuid4()),
            "nbf": int(now),
            "exp": int(now) + LIFETIME,
        }
        try:
            return jwt.encode(claims, private.private_key(), algorithm=self.algorithm)
        except (ValueError, TypeError, OverflowError, jwt.PyJWTError):
            # Without the cause: its text may hold parts of the key.
            raise GitHubError("cannot sign as the runner: its numbers are no RSA key") from None


def _json(raw: bytes, name: str) -> Any:
    try:
        if len(raw) <= LONGEST_FILE:
            return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        pass
    raise GitHubError(f"cannot read the runner's key: {name} is not JSON of a usual length")


def _object(value: Any) -> dict[str, Any]:
    return {k.lower(): v for k, v in value.items()} if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    try:
        raw = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (ValueError, binascii.Error):
        raw = b""
    if not 0 < len(raw) <= LONGEST_NUMBER:
        raise GitHubError("cannot read the runner's key: .credentials_rsaparams is not as expected")
    return int.from_bytes(raw, "big")
