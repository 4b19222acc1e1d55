"""Build the zip of the Lambda functions.

It holds what the functions import: the wheels' packages, the launcher without this package, and
the parts of the agent's package that the launcher shares. `launcher.deploy.inspection` checks it.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import launcher
import sidecar
from launcher.deploy.wheels import read_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MODULES = ("defaults.py", "errors.py", "fields.py", "values.py", "__init__.py")
SHARED = ("aws", "documents", "examination", "github", "host", "log", "net", *_MODULES)
"""What the launcher uses of `sidecar`; import-linter holds it to these."""
SERVICES = ("dynamodb", "ec2", "ecs", "secretsmanager", "sqs", "ssm", "sts")
"""The AWS services that the functions call: botocore's descriptions of the others are left out."""
SOURCES = (".py", ".sh", ".ps1")
"""The launcher's own files by their ends: code, and what is written into user data."""
UNUSED = re.compile(
    r"(^|/)(tests?|__pycache__)/|\.(pyi|pyx|pxd|pxi|c|h|hash|exe)$|/examples-1\.json$"
    r"|\.dist-info/(WHEEL|INSTALLER|REQUESTED|top_level\.txt|entry_points\.txt|sboms/.*)$"
)
MODE = 0o644
"""Lambda runs the code as a user of its own, which must be able to read it."""
DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A zip that was built."""

    path: Path
    files: int
    size: int
    """Bytes of the zip."""
    unpacked: int
    """Bytes of its files."""
    sha256: str
    compiled: bool
    """Whether it holds compiled code, with which a function starts faster."""

    def report(self) -> str:
        """Describe it in one line."""
        return (
            f"{self.path.name}: {self.size / 1e6:.1f} MB, {self.unpacked / 1e6:.1f} MB unpacked, "
            f"{self.files} files, {'' if self.compiled else 'not '}compiled, "
            f"sha256 {self.sha256[:16]}"
        )


def collect(wheels: Iterable[Path]) -> dict[str, bytes]:
    """Return the files of the zip by path."""
    found: dict[str, bytes] = {}
    for wheel in wheels:
        found.update(item for item in read_wheel(wheel) if is_used(item[0]))
    found.update(read_sources())
    return found


def read_sources() -> Iterator[tuple[str, bytes]]:
    """Yield the sources of the launcher and of what it shares with the agent."""
    own = Path(launcher.__file__).parent
    for path in sorted(own.rglob("*")):
        if path.suffix in SOURCES and path.relative_to(own).parts[0] != "deploy":
            yield path.relative_to(own.parent).as_posix(), path.read_bytes()
    agent = Path(sidecar.__file__).parent
    for name in SHARED:
        part = agent / name
        for path in sorted(part.rglob("*.py")) if part.is_dir() else [part]:
            yield path.relative_to(agent.parent).as_posix(), path.read_bytes()


def is_used(path: str) -> bool:
    """Say whether a function may need this file of a wheel."""
    if UNUSED.search(path):
        return False
    described = re.match(r"botocore/data/([^/]+)/", path)
    return described is None or described[1] in SERVICES


def pack(files: Mapping[str, bytes], path: Path) -> Bundle:
    """Write the zip. The same files give the same bytes, whoever packs them and when."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system = 3  # Unix, also where this runs on Windows
            entry.external_attr = (0o100000 | MODE) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    content = path.read_bytes()
    return Bundle(
        path,
        len(files),
        len(content),
        sum(map(len, files.values())),
        hashlib.sha256(content).hexdigest(),
        any(name.endswith(".pyc") for name in files),
    )
