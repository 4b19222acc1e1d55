"""Build the images by a real engine from the repository's own Dockerfile, without any network."""

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
STAND_INS = "ecs-runner-sidecar:stand-ins"
TIMEOUT = 300.0
"""Seconds that a build may take."""


def there(path: Path) -> str:
    """Return the path by which an engine finds a path of this machine."""
    return f"/host{path}"


def build(engine: Engine, given: bases.BuildInputs, folder: Path) -> None:
    """Build both images; `folder` is an empty folder for the runner's archive."""
    engine.docker("import", there(given.base), BASE, timeout=TIMEOUT)
    pack(folder)
    for target, tag in (("runner", RUNNER), ("dind", DIND)):
        _build(
            *(engine, given, "images/ubuntu/Dockerfile", tag),
            *("--build-context", f"runner-archive={there(folder)}", "--target", target),
        )


def build_stand_ins(engine: Engine, given: bases.BuildInputs) -> None:
    """Build the image of the stand-ins; the base must be imported before."""
    _build(engine, given, "local/Dockerfile", STAND_INS)


def _build(engine: Engine, given: bases.BuildInputs, file: str, tag: str, *options: str) -> None:
    engine.docker(
        *("buildx", "build", "--progress=plain", "--network=none"),
        *("--file", there(REPOSITORY / file)),
        *("--build-arg", f"BASE_IMAGE={BASE}"),
        *("--build-context", f"wheels={there(given.wheels)}"),
        *(*options, "--tag", tag),
        there(REPOSITORY),
        timeout=TIMEOUT,
    )
