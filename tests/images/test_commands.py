"""`docker run IMAGE COMMAND`: supervised, and nothing is registered for it."""

import signal

import pytest

from tests.images.containers import contained

pytestmark = [pytest.mark.docker, pytest.mark.root]

TRAPPED = "trap 'echo heard; exit 9' TERM; echo began; while :; do sleep 0.1; done"


async def supervised(stage, engine, command, code, *options):
    """Run a command to its end; give its output and the container's errors."""
    async with contained(stage, engine, *options, command=("sh", "-c", command)) as container:
        assert await container.life.wait_for_end() == code
    assert not stage.world.calls
    assert stage.find_processes() == {}
    return container.life


def test_output_and_exit_code_are_the_command_s(lives):
    """The agent's log goes beside them, and its own code is the command's."""

    async def plain(stage, engine):
        life = await supervised(stage, engine, "id -un; echo said; echo beside >&2; exit 7", 7)
        assert life.text == "root\nsaid\n"
        assert "beside\n" in life.errors
        assert life.find_events("command.ended", code=7)

    async def killed(stage, engine):
        life = await supervised(stage, engine, "kill -KILL $$", 128 + signal.SIGKILL)
        assert life.find_events("command.ended", code=-signal.SIGKILL)

    async def orphans(stage, engine):
        """Leave something running: it neither keeps the container up nor outlives it."""
        await supervised(stage, engine, "(setsid sleep 600 &) ; exit 3", 3)

    async def stopped(stage, engine):
        async with contained(stage, engine, command=("sh", "-c", TRAPPED)) as container:
            await container.life.wait_for_text("began")
            await container.stop()
            assert await container.life.wait_for_end() == 9
        assert container.life.text == "began\nheard\n"

    lives(plain, killed, orphans, stopped)
