"""Run the image as PID 1 on a real engine: each way that a life can end, and what is left."""

import asyncio
import os
import re
import signal

import pytest

from tests.engines.engine import Failed
from tests.images.containers import restart, run_container
from tests.lives.stage import PATIENCE, read_file, read_output

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_a_life_runs_its_job_and_leaves_nothing(lives):
    """The image alone runs a whole life; the container's exit code is the agent's."""

    async def life(stage, engine):
        await stage.put()
        job = stage.job("id -un; echo home $HOME; pwd; cat /proc/1/cmdline | tr '\\0' ' '")
        async with run_container(stage, engine) as container:
            await stage.check_end(container.life, 0)
            assert await container.inspect("{{.State.ExitCode}}") == "0"
        assert job.result == "succeeded"
        user, home, _, first = read_output(job).splitlines()[-4:]
        assert (user, home) == ("runner", "home /home/runner")
        assert first.split()[1:] == ["-I", "/usr/local/bin/runner-sidecar", "run"]

    lives(life)


async def check_health(container):
    """Check that a health check succeeds. ECS, too, asks again: one answer may be late."""
    for tries_left in reversed(range(5)):
        try:
            await container.docker("exec", container.name, "runner-sidecar", "health")
            break
        except Failed:
            if not tries_left:
                raise


def test_docker_stop_at_each_phase(lives):
    """The stop signal reaches the agent at once: nothing is left, and no SIGKILL is needed."""

    async def waiting(stage, engine):
        env = {"SIDECAR_HEALTH_ADDRESS": None}  # the default, which its health check asks
        async with run_container(stage, engine, env=env) as container:
            await stage.ssm.reached(target="GetParameter")
            await check_health(container)
            await container.stop()
            await stage.check_end(container.life, 16)
        assert not stage.world.calls

    async def configuring(stage, engine):
        await stage.put()
        stage.world.faults.add({"call": "runner-add", "after": True, "delay": 6.0})
        async with run_container(stage, engine) as container:
            await stage.wait_for(lambda: list(stage.world.runners), "the runner")
            await container.stop()
            await stage.check_end(container.life, 16)
        assert [gone.by for gone in stage.world.runners.removed] == ["remove"]

    async def idle(stage, engine):
        await stage.put()
        async with run_container(stage, engine) as container:
            await container.life.wait_for_phase("idle")
            await container.stop()
            await stage.check_end(container.life, 0)
        assert [gone.by for gone in stage.world.runners.removed] == ["remove"]

    async def busy(stage, engine):
        await stage.put()
        step, open_gate = stage.make_gate()
        job = stage.job(step)
        env = {"SIDECAR_STOP_TIMEOUT": "120"}
        async with run_container(stage, engine, env=env) as container:
            await stage.wait_for_output(job, "at the gate")
            async with container.stopping(120):
                await container.life.wait_for_event("stop.job_awaited")
                open_gate()
            await stage.check_end(container.life, 0)
        assert job.result == "succeeded"

    async def too_busy(stage, engine):
        await stage.put()
        job = stage.job("echo begun; exec sleep 600")
        env = {"SIDECAR_STOP_TIMEOUT": "20"}
        async with run_container(stage, engine, env=env) as container:
            await stage.wait_for_output(job, "begun")
            await container.stop(20)
            await stage.check_end(container.life, 22)
        assert job.result == "failed"

    lives(waiting, configuring, idle, busy, too_busy)


def test_a_stop_in_the_first_moment(lives):
    """A stop right after the start, long before the agent runs, is handled."""

    async def life(stage, engine):
        async with run_container(stage, engine, detached=True) as container:
            os.kill(await wait_for_first_program(stage), signal.SIGTERM)
            assert await container.docker("wait", container.name) == "16\n"
        assert not stage.world.calls

    lives(life, life, life)


async def wait_for_first_program(stage):
    """Wait until a container's first program blocks or handles stops; returns its number.

    An earlier stop is lost: docker's own init (`--init`) loses it as well.
    """
    end = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < end:
        for pid in stage.find_processes():
            status = read_file(f"/proc/{pid}/status").decode()
            masks = re.findall(r"^Sig(?:Blk|Cgt):\t(\w+)$", status, re.MULTILINE)
            if any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks):
                return pid
        await asyncio.sleep(0)
    raise AssertionError("it never started")


def test_docker_kill_leaves_the_runner_until_the_next_start(lives):
    """No process is left; the runner stays at GitHub until the same container is started again."""

    async def idle(stage, engine):
        await stage.put()
        async with run_container(stage, engine) as container:
            await container.life.wait_for_event("token.deleted")
            await container.docker("kill", container.name)
            assert await container.life.wait_for_end() == 137
            assert stage.find_processes() == {}
            assert await stage.read_parameter() is None
            (left,) = stage.world.runners
            await stage.put()
            async with restart(stage, container) as life:
                assert (await life.wait_for_event("killed_agent.found"))["name"] == left.name
                await life.wait_for_phase("idle")
                await container.stop()
                await stage.check_end(life, 0)

    async def busy(stage, engine):
        await stage.put()
        job = stage.job("trap '' TERM INT; echo begun; while :; do sleep 1; done")
        async with run_container(stage, engine) as container:
            await stage.wait_for_output(job, "begun")
            await container.docker("kill", container.name)
            assert await container.life.wait_for_end() == 137
        assert stage.find_processes() == {}
        assert len(list(stage.world.runners)) == 1, "only GitHub can remove it, in a day"

    lives(idle, busy)
