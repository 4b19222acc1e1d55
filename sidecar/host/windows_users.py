"""Users on Windows: the runner always runs as the agent's own user."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


@dataclass(frozen=True, slots=True)
class User:
    """The user that the runner's processes run as; never another one here."""

    name: str
    home: str


def find_user(name: str) -> User | None:
    """Return None: the agent cannot become another user here."""
    del name
    return None


def agent_user_name() -> str:
    """Return the name of the user this process runs as; no variable says it, the system does."""
    return os.getlogin()


def read_user_id(user: User) -> int:
    """Return 0: users have no such numbers here."""
    del user
    return 0


def is_root() -> bool:
    """Return False: the runner keeps the agent's own user."""
    return False
