"""A child that ends all processes of one user: not needed on Windows, where a job object does."""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


class Killer:
    """Never made here."""

    pid = 0

    async def aim(self, uid: int) -> bool:
        """Do nothing."""
        del uid
        return False

    async def slow_down(self, uid: int) -> bool:
        """Do nothing."""
        del uid
        return False

    async def kill_all(self, uid: int) -> bool:
        """Do nothing."""
        del uid
        return False

    def end(self) -> None:
        """Do nothing."""


def fork_killer() -> Killer | None:
    """Return None: a job object ends what a child has started."""
    return None


def list_other_killers(own: Killer) -> list[int]:
    """Return none."""
    del own
    return []


def disable_killer(pid: int) -> None:
    """Do nothing."""
    del pid
