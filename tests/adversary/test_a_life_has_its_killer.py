"""A whole life kills by user where it may, and says in its log where it may not."""

import os
from pathlib import Path

import pytest

from tests.lives.stage import AS_PID_1, ON_UVLOOP, open_stage, read_file, run_side_by_side


def list_names(pid):
    """Return the names of a process's children."""
    children = read_file(f"/proc/{pid}/task/{pid}/children").split()
    return [read_file(f"/proc/{int(child)}/comm").strip() for child in children]


@pytest.mark.root
def test_a_life_in_its_own_pid_namespace_kills_by_user(aws):
    """From before the job until after it; nothing has to be said, and the job is not disturbed."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            step, open_gate = stage.make_gate()
            job = stage.job(step)
            async with stage.life((*AS_PID_1, *ON_UVLOOP)) as life:
                await stage.wait_for_output(job, "at the gate")
                assert b"sidecar-killer" in list_names(life.pid)
                assert b"began" in (stage.runner_folder / ".sidecar-memory").read_bytes()
                open_gate()
                await stage.check_end(life, 0)
            assert not life.find_events("process.kill_limited")
            assert job.result == "succeeded"

    run_side_by_side(play())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_life_elsewhere_says_why_it_does_not(aws):
    """Once, at its beginning; the job is run all the same."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("true")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            (event,) = life.find_events("process.kill_limited")
            assert "pid namespace" in event["reason"] or os.geteuid() != 0
            assert job.result == "succeeded"

    run_side_by_side(play())
