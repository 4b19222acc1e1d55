"""A life of the agent with its docker proxy, and an engine as its job sees it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.engines import lives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.lives import Living
    from tests.engines.places import Place


@dataclass(frozen=True)
class Proxied:
    """A life whose job waits, and the way to the engine that its job was given."""

    living: Living
    engine: Engine
    """As the job's docker clients reach it."""
    shared: Path
    """SIDECAR_SHARED_DIR."""

    @property
    def socket(self) -> Path:
        """The proxy's."""
        return Path(urlsplit(self.engine.host).path)


@contextmanager
def shared(engine: Engine) -> Iterator[Path]:
    """Make a folder that has the same path here and where the engine runs."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o755)
    try:
        engine.share(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def proxied(place: Place, *steps: str, **env: str | None) -> Iterator[Proxied]:
    """Live for the block; the engine's side shares one folder with the agent's, and no more."""
    with shared(place.engine) as folder:
        settings = {"SIDECAR_DOCKER_PROXY": "on", "SIDECAR_SHARED_DIR": str(folder)}
        with lives.living(place, *steps, **settings, **env) as living:
            host = living.environment["DOCKER_HOST"]
            yield Proxied(living, place.engine.through(host), folder)
