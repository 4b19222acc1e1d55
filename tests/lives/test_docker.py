"""Whole lives whose jobs reach a docker daemon through the agent; the daemon is on a script."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from tests.lives.stage import open_stage, run_side_by_side
from tests.unit.docker.fakes import obliging

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="docker has a pipe there")

ASK = (
    "curl --silent --output /dev/null --write-out 'heard %{http_code}\\n' "
    '--unix-socket "${DOCKER_HOST#unix://}" http://docker/_ping'
)


@asynccontextmanager
async def daemon(stage):
    """Put up a daemon; give what makes an agent stand before it."""
    path = stage.folder / "engine.sock"
    server = await asyncio.start_unix_server(obliging, path)
    path.chmod(0o600)
    try:
        yield {
            "DOCKER_HOST": f"unix://{path}",
            "SIDECAR_DOCKER_PROXY": "on",
            "SIDECAR_RELAY": "local",
            "SIDECAR_SHARED_DIR": str(stage.folder / "shared"),
        }
    finally:
        server.close()


def test_a_job_reaches_the_daemon_by_the_agent_alone(aws):
    """It is told the proxy's socket, works beside it, and nothing of either is left."""

    async def play():
        async with open_stage(aws) as stage, daemon(stage) as env:
            await stage.put()
            (stage.runner_folder / ".env").write_text(f"DOCKER_HOST={env['DOCKER_HOST']}\nLANG=C\n")
            job = stage.job(f'echo "told $DOCKER_HOST"; pwd; {ASK}')
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            (event,) = life.find_events("docker.proxy_started")
            folder = event["socket"].removesuffix("/docker.sock")
            assert folder.startswith(f"{stage.folder}/shared/runner-")
            assert f"told unix://{event['socket']}" in job.log()
            assert f"{folder}/_work/" in job.log()
            assert "heard 200" in job.log()
            assert life.find_events("life.ended")[0]["undone"]["docker proxy"] == "done"
            assert list((stage.folder / "shared").iterdir()) == []

    run_side_by_side(play())


def test_a_work_folder_that_is_set_stays(aws):
    """The setting wins, wherever the daemon looks."""

    async def play():
        async with open_stage(aws) as stage, daemon(stage) as env:
            await stage.put()
            job = stage.job("pwd")
            async with stage.life(env={**env, "SIDECAR_WORK_DIR": "_here"}) as life:
                await stage.check_end(life, 0)
            assert f"{stage.runner_folder}/_here/" in job.log()

    run_side_by_side(play())


def test_a_killed_agent_s_folder_is_swept_by_the_next(aws):
    """Whatever a job had left in it."""

    async def play():
        async with open_stage(aws) as stage, daemon(stage) as env:
            await stage.put()
            async with stage.life(env=env) as life:
                await life.wait_for_phase("idle")
                life.signal(signal.SIGKILL)
                await life.wait_for_end()
            (left,) = (stage.folder / "shared").iterdir()
            await stage.put()
            async with stage.life(env=env) as life:
                swept = await life.wait_for_event("docker.folder_removed")
                assert swept["folder"] == str(left)
                await life.wait_for_phase("idle")
                life.signal()
                await life.wait_for_end()
            assert list((stage.folder / "shared").iterdir()) == []

    run_side_by_side(play())


def test_a_command_that_is_supervised_gets_the_proxy_too(aws):
    """With its own exit code as ever."""

    async def play():
        async with open_stage(aws) as stage, daemon(stage) as env:
            command = ("--", "sh", "-c", f'echo "told $DOCKER_HOST"; {ASK}; exit 5')
            async with stage.life(
                (sys.executable, "-m", "sidecar", "run"), *command, env=env
            ) as life:
                assert await life.wait_for_end() == 5
            assert "told unix://" in life.text
            assert "heard 200" in life.text
            assert list((stage.folder / "shared").iterdir()) == []

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, "is no socket"),
        ({"SIDECAR_SHARED_DIR": "/proc/nowhere"}, "(SIDECAR_SHARED_DIR)"),
    ],
)
def test_a_proxy_that_is_wanted_and_cannot_be_ends_the_life(aws, env, why):
    """Exit code 14, with what is missing and the setting; nothing was registered."""

    async def play():
        async with open_stage(aws) as stage, daemon(stage) as given:
            await stage.put()
            async with stage.life(env={**given, **env}) as life:
                await stage.check_end(life, 14)
            reason = life.find_events("life.failed")[0]["reason"]
            assert why in reason
            assert "SIDECAR_DOCKER_PROXY" in reason
            assert not stage.world.calls

    run_side_by_side(play())


def test_without_the_word_on_the_life_goes_on(aws):
    """And says why its jobs reach the daemon itself."""

    async def play():
        async with open_stage(aws) as stage, daemon(stage) as given:
            await stage.put()
            job = stage.job('echo "told $DOCKER_HOST"')
            env = {**given, "DOCKER_HOST": "tcp://127.0.0.1:1", "SIDECAR_DOCKER_PROXY": "auto"}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert "is no socket" in life.find_events("docker.proxy_disabled")[0]["reason"]
            assert "told tcp://127.0.0.1:1" in job.log()

    run_side_by_side(play())
