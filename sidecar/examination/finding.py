"""Say what a check found: how bad it is, in a line, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The levels of a finding."""

    OK = "ok"
    WARNING = "warning"
    """It works, or may work, and something should be changed."""
    FAILED = "failed"
    """A life in this set-up would go wrong."""
    UNKNOWN = "unknown"
    """It cannot be asked without doing it, or nobody here knows it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check."""

    level: Level
    text: str
    """What is so. It never holds a secret."""
    change: str = ""
    """What to change, or how to find out; empty where all is well."""


def ok(text: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, text)


def warning(text: str, change: str) -> Finding:
    """Say what should be changed, although a life may go well."""
    return Finding(Level.WARNING, text, change)


def failed(text: str, change: str) -> Finding:
    """Say what a life would end with."""
    return Finding(Level.FAILED, text, change)


def unknown(text: str, change: str) -> Finding:
    """Say what cannot be asked, and how to find out."""
    return Finding(Level.UNKNOWN, text, change)
