"""Take wine 10 from Debian 13, for a machine whose own wine is older, and start programs with it.

Wine 8 of Debian 12 runs the agent too, but its `taskkill` kills no tree, and it is slower. The
libraries of Debian 13 are needed with it, so a program of it sees Debian 13's /usr in place of the
machine's; everything else, network and processes included, is the machine's. It needs root and no
display.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.engines import roots

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("wine64", "python3.13")
"""The second is what a Windows Python 3.13 is made from, see `pythons`."""
UNNEEDED = ("share/doc", "share/locale", "share/man")
_RECIPE = 1
"""Raise this when the steps below make something else."""


def create() -> Path:
    """Return the folder with Debian 13's /usr; makes it if there is none (a minute, 1.2 GB)."""
    return roots.build_cached("windows-wine", _recipe(), _make)


def is_built() -> bool:
    """Return whether `create` finds it."""
    return roots.find_cached("windows-wine", _recipe()).is_dir()


def _recipe() -> bytes:
    return repr((_RECIPE, roots.CODENAME, PACKAGES, UNNEEDED)).encode()


def _make(folder: Path) -> None:
    made = folder / "made"
    roots.debootstrap(made)
    install = ("apt-get", "install", "-qq", "-y", "--no-install-recommends")
    roots.run("chroot", str(made), *install, *PACKAGES)
    roots.keep_usr(made, folder)
    for name in UNNEEDED:
        shutil.rmtree(folder / "usr" / name)
