"""The images, built by a real engine from the repository's own Dockerfile, without any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.runner import pack
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.engine import Engine
    from tests.images import bases

BASE = "debian-13"
RUNNER, DIND = "ecs-runner-sidecar:runner", "ecs-runner-sidecar:dind"
TIMEOUT = 300.0
"""Seconds that a build may take."""


def there(path: Path) -> str:
    """Return where an engine finds a path of this machine."""
    return f"/host{path}"


def built(engine: Engine, given: bases.Given, folder: Path) -> None:
    """Build both images; `folder` is an empty one, for the runner's archive."""
    engine.docker("import", there(given.base), BASE, timeout=TIMEOUT)
    pack(folder)
    for target, tag in (("runner", RUNNER), ("dind", DIND)):
        engine.docker(
            *("buildx", "build", "--progress=plain", "--network=none"),
            *("--file", there(REPOSITORY / "images" / "ubuntu" / "Dockerfile")),
            *("--build-arg", f"BASE_IMAGE={BASE}"),
            *("--build-context", f"runner-archive={there(folder)}"),
            *("--build-context", f"wheels={there(given.wheels)}"),
            *("--target", target, "--tag", tag),
            there(REPOSITORY),
            timeout=TIMEOUT,
        )
