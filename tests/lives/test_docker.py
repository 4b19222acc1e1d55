"""Run lives whose jobs reach a docker daemon through the agent; a script plays the daemon."""

import signal
import sys
from contextlib import asynccontextmanager

import pytest

from local.aws import ACCOUNT, REGION
from tests.lives.stage import open_stage, run_side_by_side
from tests.support.servers import serving
from tests.unit.docker.fakes import answer_all

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="docker has a pipe there")

ASK = (
    "curl --silent --output /dev/null --write-out 'answered %{http_code}\\n' "
    '--unix-socket "${DOCKER_HOST#unix://}" http://docker/_ping'
)


@asynccontextmanager
async def serve_daemon(stage):
    """Serve a daemon; gives the variables that make the agent its proxy."""
    path = stage.folder / "engine.sock"
    async with serving(answer_all, path):
        path.chmod(0o600)
        yield {
            "DOCKER_HOST": f"unix://{path}",
            "SIDECAR_DOCKER_PROXY": "on",
            "SIDECAR_RELAY": "local",
            "SIDECAR_SHARED_DIR": str(stage.folder / "shared"),
        }


def test_a_job_reaches_the_daemon_through_the_agent(aws):
    """A job gets the proxy's socket, its work folder is beside it, and nothing of both is left."""

    async def play():
        async with open_stage(aws) as stage, serve_daemon(stage) as env:
            await stage.put()
            (stage.runner_folder / ".env").write_text(f"DOCKER_HOST={env['DOCKER_HOST']}\nLANG=C\n")
            job = stage.job(f'echo "seen $DOCKER_HOST"; pwd; {ASK}')
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            (event,) = life.find_events("docker.proxy_started")
            folder = event["socket"].removesuffix("/docker.sock")
            assert folder.startswith(f"{stage.folder}/shared/runner-")
            assert f"seen unix://{event['socket']}" in job.log()
            assert f"{folder}/_work/" in job.log()
            assert "answered 200" in job.log()
            assert life.find_events("life.ended")[0]["undone"]["docker proxy"] == "done"
            assert list((stage.folder / "shared").iterdir()) == []

    run_side_by_side(play())


def test_a_work_folder_that_is_set_stays(aws):
    """SIDECAR_WORK_DIR wins over the shared folder."""

    async def play():
        async with open_stage(aws) as stage, serve_daemon(stage) as env:
            await stage.put()
            job = stage.job("pwd")
            async with stage.life(env={**env, "SIDECAR_WORK_DIR": "_here"}) as life:
                await stage.check_end(life, 0)
            assert f"{stage.runner_folder}/_here/" in job.log()

    run_side_by_side(play())


def test_the_next_agent_removes_a_killed_agent_s_folder(aws):
    """The folder is removed with everything that a job left in it."""

    async def play():
        async with open_stage(aws) as stage, serve_daemon(stage) as env:
            await stage.put()
            async with stage.life(env=env) as life:
                await life.wait_for_phase("idle")
                life.signal(signal.SIGKILL)
                await life.wait_for_end()
            (left,) = (stage.folder / "shared").iterdir()
            await stage.put()
            async with stage.life(env=env) as life:
                event = await life.wait_for_event("docker.folder_removed")
                assert event["folder"] == str(left)
                await life.wait_for_phase("idle")
                life.signal()
                await life.wait_for_end()
            assert list((stage.folder / "shared").iterdir()) == []

    run_side_by_side(play())


def test_a_command_that_is_supervised_gets_the_proxy_too(aws):
    """The exit code is still the command's own."""

    async def play():
        async with open_stage(aws) as stage, serve_daemon(stage) as env:
            command = ("--", "sh", "-c", f'echo "seen $DOCKER_HOST"; {ASK}; exit 5')
            async with stage.life(
                (sys.executable, "-m", "sidecar", "run"), *command, env=env
            ) as life:
                assert await life.wait_for_end() == 5
            assert "seen unix://" in life.text
            assert "answered 200" in life.text
            assert list((stage.folder / "shared").iterdir()) == []

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, "is no socket"),
        ({"SIDECAR_SHARED_DIR": "/proc/nowhere"}, "(SIDECAR_SHARED_DIR)"),
    ],
)
def test_a_required_proxy_that_cannot_start_ends_the_life(aws, env, why):
    """Exit 14; the reason names what is missing and the setting; nothing is registered."""

    async def play():
        async with open_stage(aws) as stage, serve_daemon(stage) as given:
            await stage.put()
            async with stage.life(env={**given, **env}) as life:
                await stage.check_end(life, 14)
            reason = life.find_events("life.failed")[0]["reason"]
            assert why in reason
            assert "SIDECAR_DOCKER_PROXY" in reason
            assert not stage.world.calls

    run_side_by_side(play())


def test_an_optional_proxy_that_cannot_start_is_only_logged(aws):
    """The log says why the jobs reach the daemon itself."""

    async def play():
        async with open_stage(aws) as stage, serve_daemon(stage) as given:
            await stage.put()
            job = stage.job('echo "seen $DOCKER_HOST"')
            env = {**given, "DOCKER_HOST": "tcp://127.0.0.1:1", "SIDECAR_DOCKER_PROXY": "auto"}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert "is no socket" in life.find_events("docker.proxy_disabled")[0]["reason"]
            assert "seen tcp://127.0.0.1:1" in job.log()

    run_side_by_side(play())


def test_a_job_has_the_helper_of_ecr_for_its_own_registry(aws):
    """Beside the user's own configuration, also one of the runner's `.env`; none of it stays."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            programs, given = stage.folder / "programs", stage.folder / "given"
            for folder in (programs, given):
                folder.mkdir()
                folder.chmod(0o755)
            helper = programs / "docker-credential-ecr-login"
            helper.write_text('#!/bin/sh\necho "asked for $(cat) with $AWS_ECR_CACHE_DIR"\n')
            helper.chmod(0o755)
            (given / "config.json").write_text('{"auths": {"ghcr.io": {"auth": "eDp5"}}}')
            (given / "config.json").chmod(0o644)
            (stage.runner_folder / ".env").write_text(f"DOCKER_CONFIG={given}\nLANG=C\n")
            job = stage.job(
                'echo "in $DOCKER_CONFIG"; cat "$DOCKER_CONFIG/config.json"',
                "printf registry.example.test | docker-credential-ecr-login get",
            )
            path = f"{programs}:{stage.environment()['PATH']}"
            env = {"PATH": path, "SIDECAR_ECR_REGISTRIES": ""}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            (event,) = life.find_events("docker.registries_added")
            (registry,) = event["registries"]
            assert registry == f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
            made = stage.runner_folder / ".sidecar-docker"
            assert f"in {made}" in job.log()
            assert f'"{registry}": "ecr-login"' in job.log()
            assert '"eDp5"' in job.log()
            assert f"asked for registry.example.test with {made}/" in job.log()
            assert not made.exists()
            assert not (stage.runner_folder / ".sidecar-programs").exists()
            assert f"DOCKER_CONFIG={given}" in (stage.runner_folder / ".env").read_text()

    run_side_by_side(play())
