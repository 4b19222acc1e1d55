"""Download wheels for another machine, and read the files of a wheel, each checked by its hash."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.deploy.target import Target

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
TIMEOUT = 600.0
"""Seconds for all downloads."""


def download(target: Target, folder: Path, requirements: Path = REQUIREMENTS) -> list[Path]:
    """Download the wheels of hashed requirements into a folder. Raises LaunchError.

    pip takes wheels only, made for the target, and refuses each whose hash is not listed.
    """
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input"),
        *("--implementation", "cp", "--python-version", target.python),
        *(word for name in target.platforms for word in ("--platform", name)),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        text = f"cannot download the wheels: not done within {TIMEOUT:g} s"
        raise LaunchError(Exit.UNAVAILABLE, text) from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = " ".join(errors)[:1000] or done.stderr[-1000:].strip() or "pip says nothing"
        raise LaunchError(Exit.UNAVAILABLE, f"cannot download the wheels: {reason}")
    return sorted(folder.glob("*.whl"))


def read_wheel(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file of a wheel with its path after installation. Raises LaunchError.

    Scripts, headers and data for other folders are left out: nothing imports them.
    """
    with zipfile.ZipFile(wheel) as archive:
        hashes = _read_record(wheel, archive)
        for name in archive.namelist():
            if name.endswith(("/", ".dist-info/RECORD", ".dist-info/RECORD.jws")):
                continue
            content = archive.read(name)
            if hashes.get(name) != _hash(content):
                raise _spoilt(wheel, f"{name} is not what RECORD says")
            if (installed := _find_place(name)) is not None:
                yield installed, content


def _read_record(wheel: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    records = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
    if len(records) != 1:
        raise _spoilt(wheel, f"it has {len(records)} files RECORD")
    rows = csv.reader(io.StringIO(archive.read(records[0]).decode()))
    return {row[0]: row[1] for row in rows if len(row) == 3}


def _hash(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _find_place(name: str) -> str | None:
    first, _, rest = name.partition("/")
    if not first.endswith(".data"):
        return name
    kind, _, inner = rest.partition("/")
    return inner if kind in ("purelib", "platlib") else None


def _spoilt(wheel: Path, reason: str) -> LaunchError:
    return LaunchError(Exit.REFUSED, f"cannot use {wheel.name}: {reason}")
