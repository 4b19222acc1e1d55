"""Run the image with a docker daemon of its own, privileged in a real engine."""

import pytest

from tests.images.building import DIND
from tests.images.containers import run_container
from tests.lives.stage import read_output

pytestmark = [pytest.mark.docker, pytest.mark.root]

# An empty image that uses the programs of the outer container.
NESTED = (
    "tar -c --files-from /dev/null | docker import - empty >/dev/null; "
    "docker run --rm --volume=/usr:/usr:ro --volume=/usr/lib:/lib:ro --volume=/usr/lib64:/lib64:ro "
    "empty /usr/bin/echo nested"
)


READ_ONLY = ("--read-only", "--volume=/home/runner", "--tmpfs=/run", "--tmpfs=/tmp")


def test_a_container_runs_in_the_container(lives):
    """The daemon is ready before a command starts, also on a read-only root."""

    async def life(stage, engine):
        command = ("sh", "-ec", NESTED)
        options = ("--privileged", *READ_ONLY)
        async with run_container(stage, engine, *options, image=DIND, command=command) as container:
            assert await container.life.wait_for_end() == 0
        assert container.life.text == "nested\n"
        assert stage.find_processes() == {}

    lives(life)


def test_a_life_with_a_daemon(lives):
    """The daemon belongs to root and runs as long as the job; it ends with the agent."""

    async def life(stage, engine):
        await stage.put()
        step, open_gate = stage.make_gate()
        raw = "curl -sS --unix-socket /run/runner-sidecar/docker.sock http://docker/_ping || :"
        job = stage.job(raw, step)
        async with run_container(stage, engine, "--privileged", image=DIND) as container:
            await stage.wait_for_output(job, "at the gate")
            output = await container.docker("exec", container.name, "sh", "-ec", NESTED)
            assert output == "nested\n"
            open_gate()
            await stage.check_end(container.life, 0)
        assert "OK" not in read_output(job)
        assert job.result == "succeeded"

    lives(life)


def test_without_privileges_it_says_so_at_once(lives):
    """It prints the daemon's last lines and the reason, and has an exit code of its own."""

    async def life(stage, engine):
        await stage.put()
        async with run_container(stage, engine, image=DIND) as container:
            assert await container.life.wait_for_end() == 24
        assert "cannot start the docker daemon" in container.life.errors
        assert "privileged" in container.life.errors
        assert "dockerd: " in container.life.errors
        assert await stage.read_parameter() is not None
        assert not stage.world.calls

    lives(life)
