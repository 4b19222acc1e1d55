"""Warn about an old runner program: GitHub refuses one that has been outdated for too long.

A runner that does not update itself (and one in an image must not) is refused 30 days after a
newer release is out (GitHub: "Self-hosted runners reference", updates). The agent does not know
when that was, but it knows how old the program is: the file's time is when GitHub built the
release, which archives and image layers keep. The image's own date is later: an old runner in a
new image is refused all the same.
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
"""2019-11-01, in seconds. An earlier time is not the true one: reproducible builds change it."""


def days_since_build(folder: RunnerFolder, now: Callable[[], float] = time.time) -> int | None:
    """Return how many days ago the runner's program was built; None if that is unknown."""
    try:
        built = folder.path.joinpath(folder.listener).stat().st_mtime
    except OSError:
        return None
    return None if built < FIRST_RELEASE else max(0, int((now() - built) // DAY))


def warn_if_outdated(folder: RunnerFolder, now: Callable[[], float] = time.time) -> None:
    """Log a warning if the program is so old that GitHub may refuse it soon."""
    age = days_since_build(folder, now)
    if age is not None and age > OLD:
        log.warning(
            "runner.outdated",
            days=age,
            advice="build the image anew with the newest actions/runner: GitHub refuses one "
            "from 30 days after a newer release is out",
        )
