"""Build what Windows programs run with on Linux: wine 10, and Windows Pythons 3.11 and 3.13.

`python -m tests.windows.toolchain` does it, and `make test-windows`. All of it is kept in the
user's cache, and what its recipe makes is made anew when the recipe changes.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

from tests.windows import pythons, wine_root

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TOOLS = ("debootstrap", "unshare", "apt-get", pythons.COMPILER)


class Toolchain(NamedTuple):
    """Folders that tests only read."""

    wine: Path
    """With Debian 13's /usr, which holds wine."""
    pythons: Mapping[str, Path]
    """By version, each with a `python.exe`."""


def create() -> Toolchain:
    """Return the folders; makes those that are not there yet."""
    wine = wine_root.create()
    return Toolchain(wine, {version: pythons.create(version) for version in pythons.VERSIONS})


def find_missing() -> str | None:
    """Return what keeps this machine from building it; None if nothing does."""
    if os.geteuid() != 0:
        return "root"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"{', '.join(missing)} on PATH" if missing else None


def is_built() -> bool:
    """Return whether `create` finds all of it."""
    return wine_root.is_built() and all(map(pythons.is_built, pythons.VERSIONS))


if __name__ == "__main__":
    print(create())
