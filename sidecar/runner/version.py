"""Read the version of the runner's program without starting it, which would write logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sidecar import host

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = ("bin", "Runner.Listener.deps.json")
"""The file of .NET that lists the program and its libraries, each with its version."""
_VERSION = re.compile(rb'"Runner\.Listener/(\d+\.\d+\.\d+)"')
_LARGEST = 4 << 20


def read_version(runner_dir: Path) -> str | None:
    """Return the version of the program in the runner's folder; None if it is not told."""
    found = host.read_regular(runner_dir.joinpath(*MANIFEST), _LARGEST)
    version = _VERSION.search(found[0]) if found else None
    return version[1].decode() if version else None
