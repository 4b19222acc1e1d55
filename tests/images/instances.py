"""An instance: a machine whose engine has docker's own networks, and has the images by now."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.engines import engine, places, roots, tasks
from tests.images.building import DIND, RUNNER, STAND_INS, TIMEOUT
from tests.images.containers import CLIENT_S, client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.engine import Engine
    from tests.engines.places import Place


@contextmanager
def made(source: Engine) -> Iterator[Place]:
    """Start one for the block, in a network namespace like a task's; its images are `source`'s."""
    root = roots.made()
    with tasks.made("bridge") as task, engine.started(task.space, root, root) as started:
        _copied(source, started)
        yield places.Place(places.DEBIAN_13, task, started)


def _copied(source: Engine, target: Engine) -> None:
    save = client(source, "save", RUNNER, DIND, STAND_INS)
    with subprocess.Popen(save, env=CLIENT_S, stdout=subprocess.PIPE) as saving:
        load = client(target, "load", "--quiet")
        subprocess.run(load, env=CLIENT_S, stdin=saving.stdout, check=True, timeout=TIMEOUT)
