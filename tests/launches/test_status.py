"""`status` shows a whole launch: as one table, and in place on a terminal."""

import asyncio
import os
import signal

from launcher.status.live import ENTER, HOME, LEAVE
from local.agent import PATIENCE
from tests.launches.stage import COMMAND
from tests.launches.test_explain import LONG, check_no_secret, play, wait_for_task


def find_row(text, pool="build"):
    """Return the cells of a pool's row, by the table's head."""
    lines = [line.split() for line in text.splitlines()]
    head = next(cells for cells in lines if cells[:2] == ["pool", "waiting"])
    row = next(cells for cells in lines if cells[:1] == [pool] and len(cells) > 2)
    return dict(zip(head, row, strict=False))


async def read_until(master, words, count):
    """Read a terminal until words have come so often; return all that came."""
    loop, found, came = asyncio.get_running_loop(), bytearray(), asyncio.Event()

    def read():
        try:
            found.extend(os.read(master, 65536))
        except OSError:  # its other end is closed
            loop.remove_reader(master)
        came.set()

    loop.add_reader(master, read)
    try:
        async with asyncio.timeout(PATIENCE):
            while found.count(words.encode()) < count:
                came.clear()
                await came.wait()
    finally:
        loop.remove_reader(master)
    return bytes(found)  # it may end within a character


async def watch(stage):
    """Watch the pools on a terminal for two looks, and end it; return what was shown."""
    master, terminal = os.openpty()
    try:
        env = stage.environment(**stage.question_settings())
        command = (*COMMAND, "status", "--live", "--every", "1")
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=terminal)
        try:
            shown = await read_until(master, HOME, 2)
            process.send_signal(signal.SIGINT)
            shown += await read_until(master, LEAVE, 1)
            assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
            return shown.decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        os.close(master)
        os.close(terminal)


def test_a_launch_is_counted_as_it_starts_and_as_it_runs(aws):
    """The table of now, and the one that a terminal shows again and again."""

    async def scene(stage):
        stage.ecs.may_run.clear()
        job = stage.queue_job("build", steps=LONG)
        task = await wait_for_task(stage)
        await stage.launchers[0].wait_for_event("token.handed_over")
        code, answer = await stage.ask("status")
        assert code == 0, answer.transcript()
        check_no_secret(stage, answer)
        row = find_row(answer.text)
        assert (row["waiting"], row["starting"], row["running"]) == ("0", "1", "0"), answer.text
        assert row["places"] == "1/50"
        assert task.facts.id in answer.text
        assert "queue: " in answer.text
        stage.ecs.may_run.set()
        await stage.launchers[0].wait_for_event("launch.served")
        shown = await watch(stage)
        assert shown.startswith(ENTER)
        assert "every 1 s; Ctrl-C ends it" in shown
        plain = shown.replace("\x1b[K", "").split(HOME)[1]
        row = find_row(plain)
        assert (row["starting"], row["running"]) == ("0", "1"), plain
        stage.github.world.cancel(job)
        await stage.wait_for_job(job, "canceled")
        await stage.check_nothing_left()

    play(scene, aws)
