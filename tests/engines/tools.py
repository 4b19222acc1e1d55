"""Give containers of a strict life a Debian's programs: by volumes that were there before.

Folders of the engine's machine may not be mounted there.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine

_FOLDERS = {"usr": "usr", "bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}


@contextmanager
def create(engine: Engine) -> Iterator[list[str]]:
    """Make the volumes within the block; yield the options of `docker run` that mount them."""
    volumes = {f"tools-{name}": folder for name, folder in _FOLDERS.items()}
    for name, folder in volumes.items():
        device = f"--opt=device=/clients/{folder}"
        engine.docker("volume", "create", "--opt=type=none", "--opt=o=bind", device, name)
    try:
        yield [f"--volume=tools-{name}:/{name}:ro" for name in _FOLDERS]
    finally:
        engine.docker("volume", "rm", *volumes)
