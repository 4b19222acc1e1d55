# ruff: noqa: INP001  a program of the image's build, and no module
"""Download an archive, compare its checksum, and unpack it into a folder.

python unpack.py SHA256 FOLDER URL
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

TIMEOUT = 60.0
"""Seconds that the other end may be silent."""
TRIES = 4
FIRST_PAUSE = 2.0
"""Seconds until the second try; each pause is twice the one before."""


def download(url: str, target: Path, *, pause: float = FIRST_PAUSE) -> str:
    """Write what is at `url` to `target`; return its SHA-256. Raises OSError after some tries."""
    for left in reversed(range(TRIES)):
        try:
            return _download_once(url, target)
        except OSError as error:
            if left == 0 or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                raise
            time.sleep(pause)
            pause *= 2
    raise AssertionError


def _download_once(url: str, target: Path) -> str:
    found = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=TIMEOUT) as response,  # noqa: S310  its checksum is known
        target.open("wb") as file,
    ):
        while piece := response.read(1 << 20):
            found.update(piece)
            file.write(piece)
    return found.hexdigest()


def unpack(wanted: str, folder: Path, url: str) -> None:
    """Make `folder` from the archive at `url`, whose SHA-256 must be `wanted`."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "archive.zip"
        try:
            found = download(url, archive)
        except OSError as error:
            sys.exit(f"cannot download {url}: {error}")
        if found != wanted.lower():
            sys.exit(f"cannot use {url}: its SHA-256 is {found}, not {wanted}")
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    unpack(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
