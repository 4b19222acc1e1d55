"""Compare repositories, refs and the like with patterns: `*` stops at a slash, `**` does not."""

from __future__ import annotations

import re
from functools import lru_cache

MOST_STARS = 2
"""`*` in one pattern; more of them could be made slow by a ref that somebody invents."""
LONGEST = 255
"""Characters of a repository or ref that are compared; GitHub's own are not longer."""
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9._*-]{1,100}")
_EVENT = re.compile(r"[a-z_]{1,50}")
_REF = re.compile(r"refs/[!-~]{1,250}")
_STARS = {"*": "[^/]*", "**": ".*"}


def matches_any(patterns: tuple[str, ...], text: str) -> bool:
    """Return whether a text fits one of the patterns. A longer one than LONGEST fits none."""
    return len(text) <= LONGEST and any(_compile(one).fullmatch(text) for one in patterns)


def lower(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return patterns in lower case: GitHub's names of owners and repositories have no case."""
    return tuple(map(str.lower, patterns))


def count_stars(pattern: str) -> int:
    """Count the groups of stars; `**` is one."""
    return len(re.findall(r"\*+", pattern))


def check_stars(pattern: str) -> None:
    """Check that a pattern has few stars. Raises ValueError."""
    if count_stars(pattern) > MOST_STARS or "***" in pattern:
        message = f"must have {MOST_STARS} '*' at most"
        raise ValueError(message)


def check_repository(text: str) -> None:
    """Check a repository: `owner/name`, where the name may hold `*`. Raises ValueError."""
    if not _REPOSITORY.fullmatch(text):
        message = "must be owner/name or owner/*"
        raise ValueError(message)
    if "**" in text:
        message = "must have single '*'"
        raise ValueError(message)
    check_stars(text)


def check_event(text: str) -> None:
    """Check the name of an event of GitHub's. Raises ValueError."""
    if not _EVENT.fullmatch(text):
        message = "must be an event's name, such as push"
        raise ValueError(message)


def check_ref(text: str) -> None:
    """Check a ref, which may hold `*` and `**`. Raises ValueError."""
    if not _REF.fullmatch(text):
        message = "must be a whole ref, such as refs/heads/main or refs/tags/v*"
        raise ValueError(message)
    check_stars(text)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*+)", pattern)
    return re.compile("".join(_STARS.get(part, re.escape(part)) for part in parts), re.DOTALL)
