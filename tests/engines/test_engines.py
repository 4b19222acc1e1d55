"""The real engines of the other tests, and the services on the far side, are what those rely on."""

import json
import os
import signal
from pathlib import Path

import pytest

from local import aws, imds
from tests.engines import engine as engines
from tests.engines import spaces, table

pytestmark = [pytest.mark.docker, pytest.mark.root]

ROLES = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"


def test_the_engines_have_the_versions_in_the_readme(place):
    """The versions matter: they differ in what the tests check."""
    version = place.engine.docker("version", "--format", "{{.Server.Version}}")
    assert version.startswith(table.ENGINES[place.kind])


def test_a_container_runs_with_a_real_userland(engine):
    """An empty image and mounts make a Debian."""
    assert engine.run("sh", "-c", "echo $((6 * 7)) $GREETING", env={"GREETING": "hi"}) == "42 hi\n"


def test_a_container_without_the_agent_reaches_both_link_local_addresses(task, engine):
    """Without the relay a container gets what the far side serves."""
    output = json.loads(engine.run("curl", "-sS", f"http://169.254.170.2{task.relative_uri}"))
    assert output["RoleArn"] == aws.TASK_ROLE
    assert engine.run("curl", "-sS", ROLES) == imds.INSTANCE_ROLE.rpartition("/")[2]


def test_a_task_has_no_default_route(task, engine):
    """There is no default route, so that no packet for a link-local address leaves the test."""
    for space in (task.space, task.far):
        assert "default" not in space.run("ip", "route", "show")


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_an_engine_leaves_nothing(killed, root):
    """No process, mount, folder or control group is left, however the engine ends."""
    with spaces.create() as space:
        with engines.start(space, root, root) as engine:
            engine.run("sh", "-c", "trap exit TERM; sleep 600 & wait", options=["--detach"])
            folder, pid = engine.folder, engine.pid
            if killed:
                os.kill(pid, signal.SIGKILL)
        assert not folder.exists()
        assert not Path(f"/proc/{pid}").exists()
        assert folder.name not in Path("/proc/mounts").read_text()
        assert engines.find_cgroups(folder.name) == []
