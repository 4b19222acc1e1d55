"""Measure the coverage of some tests only: it doubles the time of what it watches.

The others play the same lines again: in whole lives, in storms, under real engines.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MEASURED = (
    "tests/action/",
    "tests/deploy/",
    "tests/doctor/",
    "tests/launcher_doctor/",
    "tests/lives/test_lives.py",
    "tests/lives/test_registration.py",
    "tests/unit/",
)
"""Where the tests are whose coverage `make test` reports."""
PREFIX = "COVERAGE_"
"""The variables that make coverage.py measure the programs that a test starts."""


@contextmanager
def measure(test: str) -> Iterator[None]:
    """Run a test within the block: measured, if coverage.py runs and the test is in `MEASURED`.

    `test`: its id. Of other tests neither this process nor what they start is measured.
    """
    try:
        from coverage import Coverage
    except ImportError:  # the Pythons that play the portable tests do not have it
        coverage = None
    else:
        coverage = Coverage.current()
    if coverage is None or test.startswith(MEASURED):
        yield
        return
    kept = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(PREFIX)}
    coverage.stop()
    try:
        yield
    finally:
        os.environ.update(kept)
        coverage.start()
