"""Name what a zip is built for: a Python, an architecture, and the system of Lambda."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

ARCHITECTURES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's names, and those of wheels."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
OLDEST_GLIBC, NEWEST_GLIBC = 17, 34
"""Minor numbers of glibc 2: where manylinux begins, and that of Amazon Linux 2023."""
OLDER_GLIBC = {"3.11": 26}
"""The runtimes that stand on Amazon Linux 2."""


@dataclass(frozen=True)
class Target:
    """The Python and the processor that the functions run on."""

    python: str = "3.13"
    architecture: str = "arm64"

    @classmethod
    def of_this_machine(cls) -> Target:
        """Return the target that runs here, where this is Linux."""
        names = {wheel: name for name, wheel in ARCHITECTURES.items()}
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return cls(version, names.get(platform.machine(), "x86_64"))

    @property
    def runtime(self) -> str:
        """Return Lambda's name of the runtime."""
        return f"python{self.python}"

    @property
    def machine(self) -> str:
        """Return the architecture as wheels name it."""
        return ARCHITECTURES[self.architecture]

    @property
    def glibc(self) -> int:
        """Return the minor number of its glibc 2."""
        return OLDER_GLIBC.get(self.python, NEWEST_GLIBC)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Return the platforms of the wheels that run there, the newest first."""
        newest_first = range(self.glibc, OLDEST_GLIBC - 1, -1)
        named = [f"manylinux_2_{minor}_{self.machine}" for minor in newest_first]
        return (*named, f"manylinux2014_{self.machine}")
