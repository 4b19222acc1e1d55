"""Ask the agent whether a job may run, on Windows: not there yet, so no job may run."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

ADMITTED = "admitted"


class AdmissionChannel(NamedTuple):
    """A channel on which a hook asks."""


@asynccontextmanager
async def open_admission_channel(
    folder: Path, user: User | None, decide: Callable[[dict[str, str] | None], Awaitable[str]]
) -> AsyncIterator[AdmissionChannel]:
    """Raise OSError: a runner with a policy takes no job on Windows."""
    del folder, user, decide
    raise OSError("a policy cannot be enforced on Windows yet (remove the pool's access table)")
    yield AdmissionChannel()


def build_admission_script(channel: AdmissionChannel, names: Iterable[str]) -> str:
    """Return no lines: nobody gets here."""
    del channel, names
    raise NotImplementedError
