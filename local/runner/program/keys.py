"""A runner's RSA key: made, written as the runner writes it, signed with (PS256).

A new key of 2048 bits takes a second without a library. So keys are made of a pool of known
primes: a key differs from nearly every other one, and is good for nothing but tests.
"""

import _random
import binascii
import os

_OFFSETS = (
    1672, 176, 218, 884, 716, 312, 56, 250, 282, 564, 654, 1342, 558, 938, 338, 334, 238, 1522, 896,
    1660, 500, 452, 392, 188, 420, 44, 322, 66, 314, 3140, 2, 174, 1006, 168, 196, 778, 60, 700,
    766, 640, 8, 1946, 964, 38, 240, 2428, 366, 336,
)  # fmt: skip
"""Prime number i is the i-th pseudo-random number of 1024 bits, plus this."""
_EXPONENT = 65537


def fresh() -> dict[str, int]:
    """Give a key: modulus, d, p, q, dp, dq, inverseQ."""
    first = os.urandom(1)[0] % len(_OFFSETS)
    other = (first + 1 + os.urandom(1)[0] % (len(_OFFSETS) - 1)) % len(_OFFSETS)
    p, q = _prime(first), _prime(other)
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    parts = {"dp": d % (p - 1), "dq": d % (q - 1), "inverseQ": pow(q, -1, p)}
    return {"d": d, **parts, "modulus": p * q, "p": p, "q": q}


def _prime(index: int) -> int:
    return ((3 << 1022) | _random.Random(index).getrandbits(1022) | 1) + _OFFSETS[index]


def written(key: dict[str, int]) -> dict[str, str]:
    """Give the content of the key file: each number as base64 of its bytes."""
    sizes = {"d": 256, "modulus": 256}
    numbers = {name: encode(key[name], sizes.get(name, 128)) for name in key}
    return {**numbers, "exponent": "AQAB"}


def read(stored: dict[str, str]) -> dict[str, int]:
    """Read the content of the key file; its names are in lower case."""
    names = {"d": "d", "dp": "dp", "dq": "dq", "inverseq": "inverseQ", "modulus": "modulus"}
    names.update(p="p", q="q")
    return {
        name: int.from_bytes(binascii.a2b_base64(stored[low]), "big") for low, name in names.items()
    }


def encode(number: int, size: int) -> str:
    """Give a number as base64 of `size` bytes."""
    return binascii.b2a_base64(number.to_bytes(size, "big"), newline=False).decode()


def sign(key: dict[str, int], text: bytes) -> bytes:
    """Sign with RSASSA-PSS, SHA-256 and 32 bytes of salt (RFC 8017, 8.1.1): JWT's PS256."""
    from hashlib import sha256

    salt = os.urandom(32)
    digest = sha256(b"\0" * 8 + sha256(text).digest() + salt).digest()
    block = b"\0" * (256 - 32 - 32 - 2) + b"\1" + salt
    mask = b"".join(sha256(digest + n.to_bytes(4, "big")).digest() for n in range(7))
    masked = bytes(one ^ other for one, other in zip(block, mask))
    number = int.from_bytes(bytes([masked[0] & 0x7F]) + masked[1:] + digest + b"\xbc", "big")
    low, high = pow(number, key["dq"], key["q"]), pow(number, key["dp"], key["p"])
    return (low + (key["inverseQ"] * (high - low) % key["p"]) * key["q"]).to_bytes(256, "big")
