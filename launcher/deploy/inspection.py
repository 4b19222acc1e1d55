"""Check the zip of the functions file by file, before AWS gets it."""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zipfile
from typing import TYPE_CHECKING

from launcher.deploy.bundle import MODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from launcher.deploy.target import Target

LARGEST_UPLOAD, LARGEST = 50 * 1024 * 1024, 250 * 1024 * 1024
"""Bytes of a zip that the console takes, and of its files unpacked (Lambda, "Quotas")."""
MACHINES = {"aarch64": 183, "x86_64": 62}
"""Numbers of ELF's e_machine."""
HANDLERS = ("launcher/lambdas.py",)
PRIVATE = re.compile(r"(^|/)(\.[^/]+|[^/]*\.(pem|key|p12|env)|id_rsa[^/]*)$")
"""Files that may hold secrets, and hidden ones."""
PUBLIC = {"botocore/cacert.pem"}
_GLIBC = re.compile(rb"\0GLIBC_2\.(\d+)(?:\.\d+)?(?=\0)")


def inspect(path: Path, expected: Mapping[str, bytes], target: Target) -> list[str]:
    """Return a line for each thing that is wrong; `expected` are its files as they should be."""
    problems: list[str] = []
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        problems += _compare_names(names, expected)
        for entry in entries:
            content = archive.read(entry)
            problems += _check_entry(entry)
            if _differs(content, expected.get(entry.filename)):
                problems.append(f"{entry.filename} is not the file that was collected")
            if content[:4] == b"\x7fELF":
                problems += _check_library(entry.filename, content, target)
        problems += _check_sizes(path.stat().st_size, sum(entry.file_size for entry in entries))
    return problems


def _differs(content: bytes, expected: bytes | None) -> bool:
    if expected is None:
        return False  # it is reported as one too many
    return hashlib.sha256(content).digest() != hashlib.sha256(expected).digest()


def _compare_names(names: list[str], expected: Mapping[str, bytes]) -> Iterable[str]:
    if len({name.lower() for name in names}) != len(names):
        yield "a path is there twice, or in two spellings"
    for name in sorted(set(names) - set(expected)):
        yield f"{name} does not belong into the zip"
    for name in sorted({*expected, *HANDLERS} - set(names)):
        yield f"{name} is missing"


def _check_entry(entry: zipfile.ZipInfo) -> Iterable[str]:
    name, mode = entry.filename, entry.external_attr >> 16
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in name or {"", ".", ".."}.intersection(parts):
        yield f"{name!r} is not a path below the zip's root"
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) != MODE:
        yield f"{name} has the mode {mode:o}, not that of a file that all may read"
    if PRIVATE.search(name) and name not in PUBLIC:
        yield f"{name} may hold a secret"


def _check_library(name: str, content: bytes, target: Target) -> Iterable[str]:
    """Check a shared library: its machine, its Python, and the glibc that it needs."""
    (machine,) = struct.unpack_from("<H", content, 18)
    if content[4:6] != b"\x02\x01" or machine != MACHINES[target.machine]:
        yield f"{name} is not for {target.architecture}"
    tag = re.search(r"\.cpython-(\d+)-", name)
    if tag and tag[1] != target.python.replace(".", ""):
        yield f"{name} is not for Python {target.python}"
    needed = max((int(minor) for minor in _GLIBC.findall(content)), default=0)
    if needed > target.glibc:
        yield f"{name} needs glibc 2.{needed}, and Lambda has 2.{target.glibc}"


def _check_sizes(packed: int, unpacked: int) -> Iterable[str]:
    for size, most, what in ((packed, LARGEST_UPLOAD, "packed"), (unpacked, LARGEST, "unpacked")):
        if size > most:
            yield f"the zip has {size} bytes {what}, and {most} is the limit"
