"""Start an instance: a machine whose engine has docker's own networks and the images."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.engines import engine, places, roots, tasks
from tests.images.building import DIND, RUNNER, STAND_INS, TIMEOUT
from tests.images.containers import CLIENT_ENV, client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.places import Place


@contextmanager
def start(source: Engine) -> Iterator[Place]:
    """Start one for the block, in a network namespace of its own, with the images of `source`."""
    root = roots.create()
    with tasks.create("bridge") as task, engine.start(task.space, root, root) as started:
        _copy_images(source, started)
        yield places.Place(places.DEBIAN_13, task, started)


def _copy_images(source: Engine, target: Engine) -> None:
    save = client(source, "save", RUNNER, DIND, STAND_INS)
    with subprocess.Popen(save, env=CLIENT_ENV, stdout=subprocess.PIPE) as saving:
        load = client(target, "load", "--quiet")
        subprocess.run(load, env=CLIENT_ENV, stdin=saving.stdout, check=True, timeout=TIMEOUT)
