"""Reports of people who run such runners, tried with a real engine: leftovers and folders.

Where each case comes from is in tests/cases/README.md.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines import places, proxied
from tests.engines.engine import EMPTY, USERLAND
from tests.engines.lives import PATIENCE, run_life
from tests.engines.test_ends import BUDGET, list_objects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root]

CANCELLED = 22
WAIT = ("sleep", "600")
COMPOSE_FILE = {
    "services": {
        "one": {
            "image": EMPTY,
            "command": ["sleep", "600"],
            "volumes": [*USERLAND[1::2], "data:/data", "/anonymous"],
            "environment": ["AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test"],
        }
    },
    "volumes": {"data": {}},
    "networks": {"default": {}},
}


# --- what stays after a job -----------------------------------------------------------------------


def test_nothing_that_a_step_made_itself_stays(place: Place) -> None:
    """A compose project, networks, containers with their own credentials, anonymous volumes."""
    before = list_objects(place.engine)
    compose = ("docker-compose",) if place.kind == places.DEBIAN_12 else ("docker", "compose")
    with proxied.run_proxied(place, code=CANCELLED, **BUDGET) as life:
        docker = life.engine.docker
        text = json.dumps(COMPOSE_FILE).encode()
        project = (*compose, "--file", "-", "--project-name", f"p{secrets.token_hex(4)}")
        life.engine.run_command(*project, "up", "--detach", text=text)
        docker("network", "create", "by-hand")
        own = ("--env=AWS_ACCESS_KEY_ID=x", "--env=AWS_PROFILE=y", "--network=by-hand")
        docker("run", "--detach", *own, *USERLAND, EMPTY, *WAIT)
        for remove in (("rm", "--force"), ("rm", "--force", "--volumes")):
            name = f"mine-{secrets.token_hex(4)}"
            docker("create", "--name", name, "--volume=/anonymous", EMPTY, *WAIT)
            docker(*remove, name)
        for _ in range(2):
            docker("volume", "create", "again")
            docker("volume", "rm", "again")
        docker("volume", "create", "again")
        life.running.life.signal(signal.SIGTERM)
        life.running.wait_for_event("stop.requested")  # of two that wait the kernel makes one
        life.running.life.signal(signal.SIGTERM)
        life.running.wait_for_event("life.ended")
        (event,) = life.running.life.find_events("docker.objects_removed")
        assert (event["containers"], event["networks"]) == (2, 2)
        assert event["volumes"] == 3
        assert list_objects(place.engine) == before


# --- what the daemon sees -------------------------------------------------------------------------


@pytest.fixture
def unshared() -> Iterator[Path]:
    """Make a folder that the agent alone has."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_a_folder_that_the_daemon_does_not_have_is_found_out(place: Place, unshared: Path) -> None:
    """Before a job: no proxy, and a warning. No container is made for that."""
    before = list_objects(place.engine)
    env = {"SIDECAR_DOCKER_PROXY": "auto", "SIDECAR_SHARED_DIR": str(unshared)}
    with run_life(place, **env) as life:
        (event,) = life.life.find_events("docker.proxy_disabled")
        assert event["level"] == "warning"
        assert f"does not see {unshared}" in event["reason"]
        unseen = life.wait_for_event("docker.folder_unseen")
        assert "SIDECAR_WORK_DIR" in unseen["reason"]
    assert list_objects(place.engine) == before


def test_a_folder_that_the_daemon_has_is_seen(place: Place) -> None:
    """Of that, nothing is said."""
    with proxied.run_proxied(place) as life:
        until = time.monotonic() + PATIENCE
        while list(life.shared.glob("*/.sidecar-probe*")):  # the engine is asked beside the job
            assert time.monotonic() < until
        assert not life.running.life.find_events("docker.folder_unseen")
