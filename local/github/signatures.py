"""Verify signatures: RSASSA-PSS with SHA-256, which JWT calls PS256 (RFC 8017, 8.1.2)."""

import base64
import binascii
import json
import re
from typing import Any

_SALT = _HASH = 32


class WrongAssertionError(ValueError):
    """An assertion that proves nothing."""


def numbers(modulus: str, exponent: str) -> tuple[int, int]:
    """Read a public key from two numbers in base64. Raises ValueError."""
    return tuple(int.from_bytes(base64.b64decode(each), "big") for each in (modulus, exponent))  # type: ignore[return-value]


def of_xml(text: str) -> tuple[str, str]:
    """Read modulus and exponent, in base64, from .NET's `<RSAKeyValue>`. Raises ValueError."""
    found = re.search(r"<Modulus>(.+?)</Modulus>\s*<Exponent>(.+?)</Exponent>", text)
    if found is None:
        raise ValueError("no RSA key")
    return found[1], found[2]


def claims(assertion: str) -> dict[str, Any]:
    """Read what a JWT says, unproved. Raises WrongAssertionError."""
    try:
        head, body, _ = assertion.split(".")
        if json.loads(_decode(head))["alg"] != "PS256":
            raise WrongAssertionError("not signed with PS256")
        return dict(json.loads(_decode(body)))
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise WrongAssertionError("not a JSON web token") from error


def verify(assertion: str, modulus: str, exponent: str) -> bool:
    """Whether the owner of that key has signed the JWT."""
    signed, _, signature = assertion.rpartition(".")
    try:
        return _valid(signed.encode(), _decode(signature), *numbers(modulus, exponent))
    except (ValueError, binascii.Error):
        return False


def _valid(text: bytes, signature: bytes, modulus: int, exponent: int) -> bool:
    from hashlib import sha256

    size = (modulus.bit_length() + 7) // 8
    if len(signature) != size or size < _SALT + _HASH + 2:
        return False
    block = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big")
    masked, digest = block[: -_HASH - 1], block[-_HASH - 1 : -1]
    count = len(masked) // _HASH + 1
    mask = b"".join(sha256(digest + each.to_bytes(4, "big")).digest() for each in range(count))
    found = bytes(one ^ other for one, other in zip(masked, mask, strict=False))
    found = bytes([found[0] & (0xFF >> (8 * size - modulus.bit_length() + 1))]) + found[1:]
    padding, salt = found[:-_SALT], found[-_SALT:]
    if block[-1] != 0xBC or padding != b"\0" * (len(padding) - 1) + b"\1":
        return False
    return digest == sha256(b"\0" * 8 + sha256(text).digest() + salt).digest()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
