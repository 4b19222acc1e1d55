"""What can be wrong with the image: the runner, its folder, the users, the docker daemon."""

import os
import time
from contextlib import asynccontextmanager

import pytest

from local import imds
from tests.doctor import engine
from tests.doctor.plays import check, check_first
from tests.doctor.scene import DOCTOR, open_scene
from tests.lives.stage import IS_ROOT, run_side_by_side

IN_MOUNTS = ("unshare", "--mount", "sh", "-c")


def test_an_old_runner(aws):
    """GitHub refuses one from 30 days after a newer release is out."""

    async def play():
        async with open_scene(aws) as scene:
            built = time.time() - 33.5 * 86400
            os.utime(scene.runner_folder / "bin" / "Runner.Listener", (built, built))
            check(await scene.examine(), "old-runner")

    run_side_by_side(play())


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "mount", "env"),
    [
        (
            "read-only-runner",
            "mount --bind {runner} {runner} && mount -o remount,ro,bind {runner}",
            {},
        ),
        (
            "full-disk",
            "mkdir {folder}/work && mount -t tmpfs -o size=256k none {folder}/work",
            {"SIDECAR_WORK_DIR": "{folder}/work"},
        ),
    ],
)
def test_a_disk_that_cannot_be_written_to(aws, name, mount, env):
    """A folder that is read-only, and a file system without room."""

    async def play():
        async with open_scene(aws) as scene:
            places = {"runner": scene.runner_folder, "folder": scene.folder}
            given = {key: value.format(**places) for key, value in env.items()}
            script = f'{mount.format(**places)} && exec "$@"'
            argv = (*IN_MOUNTS, script, "sh", *DOCTOR, "--json")
            check_first(await scene.examine(given, argv=argv), name)

    run_side_by_side(play())


@pytest.mark.skipif(not IS_ROOT, reason="only root may choose another user")
@pytest.mark.parametrize(("name", "user"), [("one-user", "root"), ("no-home", "nobody")])
def test_users_that_do_not_fit(aws, name, user):
    """Jobs as the agent's own user can look into the runner; a job needs a home."""

    async def play():
        async with open_scene(aws) as scene:
            check(await scene.examine({"SIDECAR_RUNNER_USER": user}), name)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("no-daemon-at-docker-host", {"DOCKER_HOST": "unix:///nowhere/docker.sock"}),
        ("no-daemon-at-all", {"SIDECAR_DOCKER_PROXY": "on"}),
        ("daemon-comes-with-run", {"ENTRYPOINT_DOCKERD": "true"}),
    ],
)
def test_no_docker_daemon(aws, name, env):
    """One that is named does not answer; one that is demanded is not named, or not yet there."""

    async def play():
        async with open_scene(aws) as scene:
            examined = await scene.examine(env)
            (check_first if examined.code else check)(examined, name)

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("name", "network", "mode"),
    [("daemon-elsewhere", engine.FAR, 0o600), ("open-socket", engine.HERE, 0o666)],
)
def test_a_docker_daemon_that_does_not_fit(aws, name, network, mode):
    """One that sees no folder of the runner's; one that jobs reach past the agent."""

    async def play():
        async with open_scene(aws) as scene:
            async with engine.serving(scene.folder / "engine.sock", network, mode) as docker:
                examined = await scene.examine({"DOCKER_HOST": docker.host})
            check(examined, name)
            assert "docker 28.5.1" in examined.find("docker", "ok")[0]

    run_side_by_side(play())


def test_a_docker_daemon_that_fits(aws):
    """In this network, with a socket that is root's: the proxy is used."""

    async def play():
        async with open_scene(aws) as scene:
            async with engine.serving(scene.folder / "engine.sock", engine.HERE, 0o600) as docker:
                examined = await scene.examine({"DOCKER_HOST": docker.host})
                assert docker.created == []
            texts = examined.find("docker", "ok")
            assert "here: the docker daemon's bridge 127.0.0.1 is an address of ours" in texts[0]
            if IS_ROOT:
                assert "through the agent's proxy" in texts[1]

    run_side_by_side(play())


# --- a container that asks ------------------------------------------------------------------------


@asynccontextmanager
async def open_instance(aws):
    """Open a scene on an instance: its docker daemon, and metadata that containers reach."""
    async with (
        open_scene(aws) as scene,
        imds.serving(scene.moto) as metadata,
        engine.serving(scene.folder / "engine.sock", engine.FAR, 0o600) as docker,
    ):
        env = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            "DOCKER_HOST": docker.host,
            "SIDECAR_SHARED_DIR": str(scene.folder),
        }
        yield scene, docker, env


def test_a_container_is_started_only_if_asked_for(aws):
    """Else the line says how to ask."""

    async def play():
        async with open_instance(aws) as (scene, docker, env):
            examined = await scene.examine(env)
            assert "--container IMAGE" in examined.find("container", "unknown")[0]
            assert docker.created == []

    run_side_by_side(play())


def test_a_container_gets_the_instance_s_role(aws):
    """It asks by its own doctor, gets no secret of the agent's, and is removed."""

    async def play():
        async with open_instance(aws) as (scene, docker, env):
            examined = await scene.examine(env, "--container", engine.IMAGE)
            check(examined, "instance-role-in-a-container")
            assert docker.containers == {}
            (created,) = docker.created
            assert all(pair.startswith("AWS_") for pair in created["Env"])
            assert not [pair for pair in created["Env"] if "CREDENTIALS" in pair]

    run_side_by_side(play())


def test_a_container_of_an_image_that_is_not_there(aws):
    """Nothing is pulled."""

    async def play():
        async with open_instance(aws) as (scene, _, env):
            examined = await scene.examine(env, "--container", "other:1")
            check_first(examined, "no-such-image")

    run_side_by_side(play())
