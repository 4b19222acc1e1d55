"""Users on Windows: the runner always runs as the agent's own user."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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


def list_groups(user: User) -> list[str]:
    """Return none: what a group may do is not told by its name here."""
    del user
    return []


def may_read(path: Path, user: User | None) -> bool:
    """Whether this process may read a file, whose user everybody is here. Raises OSError."""
    del user
    with path.open("rb"):
        return True


def is_root() -> bool:
    """Return False: the runner keeps the agent's own user."""
    return False
