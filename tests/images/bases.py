"""Make what the images are built from where nothing can be pulled: a base and wheels.

The base is Debian 13 by debootstrap. The packages of the image are installed in it, so that the
Dockerfile's steps find nothing left to do; those of the docker daemon are downloaded. The wheels
are those that the requirements name. Both are made once (about a minute) and kept beside the
engines' root; `python -m tests.images.bases` makes them beforehand.
"""

from __future__ import annotations

import platform
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.engines import roots
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = REPOSITORY / "images" / "ubuntu" / "packages"
NAMES = ("build.txt", "runtime.txt", "local.txt")
REQUIREMENTS = [REPOSITORY / "requirements" / name for name in NAMES]
DOCKER = (
    *("docker-cli", "docker-buildx", "docker-compose", "docker.io"),
    "amazon-ecr-credential-helper",
)
EXCLUDED = ("usr/share/doc/*", "usr/share/locale/*", "usr/share/man/*", "var/cache/apt/*.bin")
"""What slim images do not have either."""
_RECIPE = 3
"""Raise this number when the steps below change."""


class BuildInputs(NamedTuple):
    """What a build reads, and never changes."""

    base: Path
    """An archive for `docker import`."""
    wheels: Path
    """A folder of wheels."""


def make() -> BuildInputs:
    """Return the base and the wheels; makes them if they are not there yet."""
    parts = [path.read_bytes() for path in (PACKAGES, *REQUIREMENTS)]
    parts.append(repr((_RECIPE, roots.CODENAME)).encode())
    folder = roots.build_cached("image", b"\0".join(parts), _make)
    return BuildInputs(folder / "base.tar", folder / "wheels")


def _make(folder: Path) -> None:
    folder.mkdir()
    root = folder / "root"
    roots.debootstrap(root)
    shutil.copy(PACKAGES, root / "run" / "packages")
    for part in ("system", "build"):
        roots.run("chroot", str(root), "/run/packages", part)
    roots.run("chroot", str(root), "apt-get", "clean")
    fetch = ("apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only")
    roots.run("chroot", str(root), *fetch, *DOCKER)
    pack = ("tar", "--create", "--file", str(folder / "base.tar"), "--directory", str(root))
    roots.run(*pack, *(f"--exclude=./{path}" for path in EXCLUDED), ".")
    shutil.rmtree(root)
    _download_wheels(folder / "wheels")


def _download_wheels(folder: Path) -> None:
    where = ["--dest", str(folder), "--python-version", roots.PYTHON, "--only-binary=:all:"]
    for tag in ("manylinux2014", "manylinux_2_28", "manylinux_2_34"):
        where += ["--platform", f"{tag}_{platform.machine()}"]
    pip = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check")
    for path in REQUIREMENTS:
        roots.run(*pip, *where, "--no-deps", "--require-hashes", "-r", str(path))


if __name__ == "__main__":
    print(make())
