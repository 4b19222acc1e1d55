"""Run an agent with its docker proxy, and use the engine as its job does."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.engines import lives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.lives import RunningLife
    from tests.engines.places import Place


@dataclass(frozen=True)
class ProxiedLife:
    """A running agent whose job waits, and the engine through its proxy."""

    running: RunningLife
    engine: Engine
    """The engine with the job's DOCKER_HOST."""
    shared: Path
    """The folder of SIDECAR_SHARED_DIR."""

    @property
    def socket(self) -> Path:
        """The path of the proxy's socket."""
        return Path(urlsplit(self.engine.host).path)


@contextmanager
def share_folder(engine: Engine) -> Iterator[Path]:
    """Make a folder that has the same path here and where the engine runs."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o755)
    try:
        engine.share(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def run_proxied(
    place: Place, *steps: str, shared: Path | None = None, **options: Any
) -> Iterator[ProxiedLife]:
    """Run the agent within the block; engine and agent share one folder only.

    `shared` is that folder, if several lives have the same. `options` are those of `run_life`.
    """
    with nullcontext(shared) if shared else share_folder(place.engine) as folder:
        settings = {"SIDECAR_DOCKER_PROXY": "on", "SIDECAR_SHARED_DIR": str(folder)}
        with lives.run_life(place, *steps, **settings, **options) as running:
            host = running.environment["DOCKER_HOST"]
            yield ProxiedLife(running, place.engine.with_host(host), folder)
