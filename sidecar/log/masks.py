"""Mask secrets in everything that is logged.

The agent's own secrets are known by value: `hide` registers one, and no event shows it from then
on. What the runner or a job wrote may hold others; they are recognised by how they look.
"""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
SHORTEST = 8
"""Characters of a secret that `hide` accepts: a shorter one could be part of ordinary text."""
LONGEST = 4096
"""Characters of a line that are searched for likely secrets."""

_secrets: set[str] = set()


# ---- secrets known by value --------------------------------------------------------------------


def hide(secret: str) -> None:
    """Mask `secret` in every event from now on. This is the last guard, not the first."""
    if len(secret) >= SHORTEST:
        _secrets.add(secret)


def mask_known_secrets(value: Any) -> Any:
    """Return `value` with every hidden secret masked, also in nested lists and dicts."""
    match value:
        case str():
            for secret in sorted(_secrets, key=len, reverse=True):  # one may contain another
                value = value.replace(secret, MASK)
            return value
        case dict():
            return {key: mask_known_secrets(item) for key, item in value.items()}
        case list() | tuple():
            return [mask_known_secrets(item) for item in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return mask_known_secrets(repr(value))


# ---- secrets known by how they look ------------------------------------------------------------

_LAST_WORD = re.compile(r"(?<!\S)\S+\Z")
_BY_FORMAT = (
    # GitHub's tokens by their prefixes (GitHub: "Authenticating to GitHub", token formats), and
    # the keys and session tokens of AWS.
    re.compile(r"\b(?:gh[a-z]_|github_pat_|v1\.)[A-Za-z0-9_]{20,}"),
    re.compile(r"\b(?:AKIA|ASIA|AROA)[A-Z0-9]{12,}\b"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"),  # JSON web tokens
    re.compile(r"\bA[A-Z2-7]{28}\b"),  # registration and remove tokens
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*"),
)
_BY_NAME = (
    re.compile(r"(://)[^/\s@]+(?=@)"),
    re.compile(r"(\b(?:bearer|basic|remoteauth)\s+)\S{8,}", re.IGNORECASE),
    re.compile(
        r"(\b\w{0,40}?(?:token|secret|password|passwd|credential|authorization|signature|sig|key)"
        r"[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{8,}",
        re.IGNORECASE,
    ),
)
_LONG_RUN = re.compile(r"(?<![\w+/=-])[\w+/=-]{40,}")
_KINDS = tuple(map(re.compile, ("[A-Z]", "[a-z]", "[0-9]")))
_READABLE = re.compile(
    r"(?:(?:[a-z]+|[A-Z][a-z]{2,})(?:[A-Z][a-z]{2,})*|[A-Z]+)?[0-9]{0,14}"  # words, numbers
    r"|[0-9a-f]{4,64}"  # checksums, parts of a UUID
)
SHORT = 20
"""Characters: what is not readable and at least as long is not part of a path."""


def mask_likely_secrets(text: str) -> str:
    """Return `text` with everything that looks like a secret masked.

    A longer text than LONGEST is cut first, before a word: half a secret does not look like one,
    and the search takes more than in proportion.
    """
    if len(text) > LONGEST:
        kept = _LAST_WORD.sub("", text[:LONGEST])
        text = f"{kept}[{len(text) - len(kept)} characters cut]"
    for pattern in _BY_FORMAT:
        text = pattern.sub(MASK, text)
    for pattern in _BY_NAME:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return _LONG_RUN.sub(_mask_random, text)


def has_secret_format(text: str) -> bool:
    """Return whether a text holds a token or a key that is known by its format."""
    return any(pattern.search(text) for pattern in _BY_FORMAT)


def _mask_random(match: re.Match[str]) -> str:
    """Mask a long run of letters and digits, unless it is a path, a checksum or one long word."""
    run = match[0]
    mixed = all(kind.search(run) for kind in _KINDS)
    return MASK if mixed and not _is_path(run) else run


def _is_path(run: str) -> bool:
    """Return whether a run is a path, or NAME=path: three quarters of it are words or numbers.

    One part that looks like a word is not enough: a base64 secret has such parts by chance.
    """
    if "/" not in run or "+" in run or run.endswith("="):
        return False
    parts = re.split("[/=_-]", run)
    others = [len(part) for part in parts if not _READABLE.fullmatch(part)]
    return max(others, default=0) < SHORT and 4 * sum(others) <= sum(map(len, parts))
