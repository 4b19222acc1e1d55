"""Let a test that judges time have the machine to itself, whichever worker runs the others.

Each test holds a lock on one file while it runs: shared, or exclusive if it is alone. All workers
of a run use the same folder for it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows has no such locks: no test is alone there
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def hold_machine(folder: Path, *, alone: bool) -> Iterator[None]:
    """Share the machine with the other tests of the run, or have it alone, within the block.

    Who waits for the machine holds the turnstile. So nobody else gets in before a test that
    waits to be alone, which would otherwise wait until no worker has a test left.
    """
    if fcntl is None:
        yield
        return
    with (folder / "turnstile").open("a") as turnstile, (folder / "machine").open("a") as machine:
        fcntl.flock(turnstile, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # Not by closing it: a process that the test forked may have the file open, too.
            fcntl.flock(machine, fcntl.LOCK_UN)
