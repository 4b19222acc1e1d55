"""Run `docker run IMAGE COMMAND`: the agent supervises it, and registers nothing."""

import signal

import pytest

from tests.images.containers import run_container

pytestmark = [pytest.mark.docker, pytest.mark.root]

TRAPPED = "trap 'echo trapped; exit 9' TERM; echo began; while :; do sleep 0.1; done"


async def run_command(stage, engine, command, code, *options):
    """Run a command to its end; returns the life with its output and errors."""
    async with run_container(stage, engine, *options, command=("sh", "-c", command)) as container:
        assert await container.life.wait_for_end() == code
    assert not stage.world.calls
    assert stage.find_processes() == {}
    return container.life


def test_output_and_exit_code_are_the_command_s(lives):
    """The agent logs to stderr, and ends with the command's exit code."""

    async def plain(stage, engine):
        life = await run_command(stage, engine, "id -un; echo said; echo beside >&2; exit 7", 7)
        assert life.text == "root\nsaid\n"
        assert "beside\n" in life.errors
        assert life.find_events("command.ended", code=7)

    async def killed(stage, engine):
        life = await run_command(stage, engine, "kill -KILL $$", 128 + signal.SIGKILL)
        assert life.find_events("command.ended", code=-signal.SIGKILL)

    async def orphans(stage, engine):
        """Leave a process running: it ends with the container."""
        await run_command(stage, engine, "(setsid sleep 600 &) ; exit 3", 3)

    async def stopped(stage, engine):
        async with run_container(stage, engine, command=("sh", "-c", TRAPPED)) as container:
            await container.life.wait_for_text("began")
            await container.stop()
            assert await container.life.wait_for_end() == 9
        assert container.life.text == "began\ntrapped\n"

    lives(plain, killed, orphans, stopped)
