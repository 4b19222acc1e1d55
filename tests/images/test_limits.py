"""Run the image with too little memory, disk or processes: the log has the reason."""

import re

import pytest

from tests.images.containers import run_container
from tests.lives.stage import read_output

pytestmark = [pytest.mark.docker, pytest.mark.root]

GREEDY = "python3 -c 'kept = bytearray(1 << 30)' || echo ended with $?"
SMALL_DISK = (
    "cp -a /home/runner/. /disk; n=0; while echo >/disk/$n; do n=$((n + 1)); done 2>/dev/null; "
    "exec runner-start"
)
"""Puts the runner's folder on a disk without any free page."""


def test_a_job_without_memory(lives):
    """The kernel kills the job's process; the agent goes on: the job fails, nothing is left."""

    async def life(stage, engine):
        await stage.put()
        job = stage.job(GREEDY, "exit 1")
        async with run_container(stage, engine, "--memory=256m", "--memory-swap=256m") as container:
            await stage.check_end(container.life, 0)
            assert container.life.find_events("memory.exhausted")
        assert "ended with 137" in read_output(job)
        assert job.result == "failed"

    lives(life)


def test_a_full_disk(lives):
    """In the job's folder the job fails; in the runner's folder nothing is registered."""

    async def jobs(stage, engine):
        await stage.put()
        job = stage.job("cat /dev/zero >full", "echo not reached")
        mount = "--tmpfs=/home/runner/_work:size=1m,mode=1777"
        async with run_container(stage, engine, mount) as container:
            await stage.check_end(container.life, 0)
        assert job.result == "failed"
        assert "No space left on device" in read_output(job)

    async def runners(stage, engine):
        await stage.put()
        options = ("--tmpfs=/disk:size=2m,mode=755,exec", "--entrypoint=sh")
        env = {"SIDECAR_RUNNER_DIR": "/disk"}
        command = ("-c", SMALL_DISK)
        async with run_container(stage, engine, *options, env=env, command=command) as container:
            await stage.check_end(container.life, 15)
        assert not stage.world.calls
        (failed,) = container.life.find_events("life.failed")
        assert "No space left on device" in failed["reason"]

    lives(jobs, runners)


def test_a_read_only_root(lives):
    """With volumes for the runner's folder, /run and /tmp a job runs; without, the log says why."""

    async def with_volume(stage, engine):
        await stage.put()
        job = stage.job("echo made >file && cat file")
        options = ("--read-only", "--volume=/home/runner", "--tmpfs=/run", "--tmpfs=/tmp")
        async with run_container(stage, engine, *options) as container:
            await stage.check_end(container.life, 0)
        assert job.result == "succeeded"

    async def without(stage, engine):
        await stage.put()
        async with run_container(stage, engine, "--read-only") as container:
            await stage.check_end(container.life, 15)
        (failed,) = container.life.find_events("life.failed")
        assert "Read-only file system" in failed["reason"]
        assert "SIDECAR_RUNNER_DIR" in failed["reason"]

    lives(with_volume, without)


OUTCOMES = {6: (12, ["token"], 1), 7: (15, [], 60), 8: (15, [], 60)}
"""The exit code, and what is left, by a limit of processes too low to ask, to start or to wait.

Last are the seconds for which the token is asked for, and the stop budget beyond them: where the
token comes, and is deleted, neither may be too late.
"""


def test_a_low_limit_of_processes(lives):
    """If the runner cannot start, the token is deleted; if a job forks on, only it fails."""

    def at(limit):
        async def runner(stage, engine):
            await stage.put()
            code, left, patience = OUTCOMES[limit]
            options = (f"--pids-limit={limit}",)
            env = {
                "SIDECAR_TOKEN_TIMEOUT": str(patience),
                "SIDECAR_STOP_TIMEOUT": str(patience + 3),
            }
            async with run_container(stage, engine, *options, env=env) as container:
                await stage.check_end(container.life, code, left=left)
            (failed,) = container.life.find_events("life.failed")
            assert re.search("Resource temporarily unavailable|can't start new", failed["reason"])

        return runner

    async def job(stage, engine):
        await stage.put()
        job = stage.job("exec sh -c 'while :; do sleep 6 & done'")
        async with run_container(stage, engine, "--pids-limit=60") as container:
            await stage.check_end(container.life, 0)
        assert job.result == "failed"

    lives(*map(at, OUTCOMES), job)
