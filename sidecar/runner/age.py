"""How old the runner's program is: GitHub refuses one that has been outdated for too long.

A runner that does not update itself (and one in an image must not) is refused 30 days after a
newer release is out (GitHub: "Self-hosted runners reference", updates). When that was, nobody
here knows; how old the program itself is, its file tells. The time in the file is when GitHub
built that release: archives keep it, and so do an image's layers. The image's own date would be
younger, and so too kind: an old runner in a new image is refused all the same.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.runner.folder import RunnerFolder

log = structlog.get_logger()

DAY = 86400.0
OLD = 25
"""Days after which a build of a newer image is due."""
FIRST_RELEASE = 1572566400.0
"""2019-11-01. An earlier time is one that a reproducible build has put in place of the true one."""


def days(root: RunnerFolder, now: Callable[[], float] = time.time) -> int | None:
    """Return how many days ago the runner's program was built; None if that cannot be told."""
    try:
        built = root.path.joinpath(root.listener).stat().st_mtime
    except OSError:
        return None
    return None if built < FIRST_RELEASE else max(0, int((now() - built) // DAY))


def warn(root: RunnerFolder, now: Callable[[], float] = time.time) -> None:
    """Log a warning if it is so old that GitHub may refuse it soon."""
    age = days(root, now)
    if age is not None and age > OLD:
        log.warning(
            "runner.outdated",
            days=age,
            advice="build the image anew with the newest actions/runner: GitHub refuses one "
            "from 30 days after a newer release is out",
        )
