"""Twelve ways to stop a life, each as a whole process on both event loops: nothing is left."""

from __future__ import annotations

import pytest

from tests.lives.stage import LOOPS, played, staged

on_both_loops = pytest.mark.parametrize("loop", LOOPS)


@on_both_loops
def test_a_job_that_ends_ends_the_life(aws, loop):
    """Clean end: exit 0, the token and the runner are gone, so is every process."""

    async def play():
        async with staged(aws) as stage:
            await stage.put()
            job = stage.job("echo hello")
            async with stage.life(LOOPS[loop]) as life:
                await stage.settled(life, 0)
            assert job.result == "succeeded"

    played(play())
