"""What looks like a secret, masked: for text that others wrote and that goes to the log.

`logs.hide` knows the agent's own secrets by value. Here they are known by their looks, because
nobody told the agent what the runner or a job wrote down.
"""

from __future__ import annotations

import re

MASK = "***"

LONGEST = 4096
"""Characters of a line that are looked through."""
_LAST_WORD = re.compile(r"(?<!\S)\S+\Z")

_GIVEN = (
    # GitHub's tokens by their prefixes (GitHub: "Authenticating to GitHub", token formats), and
    # the keys and session tokens of AWS.
    re.compile(r"\b(?:gh[a-z]_|github_pat_|v1\.)[A-Za-z0-9_]{20,}"),
    re.compile(r"\b(?:AKIA|ASIA|AROA)[A-Z0-9]{12,}\b"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"),  # JSON web tokens
    re.compile(r"\bA[A-Z2-7]{28}\b"),  # registration and remove tokens
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*"),
)
_NAMED = (
    re.compile(r"(://)[^/\s@]+(?=@)"),
    re.compile(r"(\b(?:bearer|basic|remoteauth)\s+)\S{8,}", re.IGNORECASE),
    re.compile(
        r"(\b\w{0,40}?(?:token|secret|password|passwd|credential|authorization|signature|sig|key)"
        r"[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{8,}",
        re.IGNORECASE,
    ),
)
_LONG = re.compile(r"(?<![\w+/=-])[\w+/=-]{40,}")
_WORD = re.compile(r"_?[A-Za-z][a-z_-]{2,}")


def masked(text: str) -> str:
    """Return `text` with everything that looks like a secret replaced by `***`.

    What is too long is cut first, before a word: half a secret does not look like one, and
    searching takes longer than in proportion.
    """
    if len(text) > LONGEST:
        kept = _LAST_WORD.sub("", text[:LONGEST])
        text = f"{kept}[{len(text) - len(kept)} characters cut]"
    for pattern in _GIVEN:
        text = pattern.sub(MASK, text)
    for pattern in _NAMED:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return _LONG.sub(_random, text)


def _random(match: re.Match[str]) -> str:
    """Mask a long run of letters and digits, unless it is a path, a checksum or one long word."""
    text = match[0]
    mixed = all(re.search(kind, text) for kind in ("[A-Z]", "[a-z]", "[0-9]"))
    path = any(_WORD.fullmatch(part) for part in text.split("/")[:-1])
    return text if path or not mixed else MASK
