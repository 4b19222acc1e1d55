"""Run whole lives on a machine of EC2, whose metadata say who it is."""

from __future__ import annotations

import asyncio
import re

import pytest

from local import imds, ssm
from tests.lives.machine import open_machine
from tests.lives.stage import run_side_by_side


def test_one_job(aws):
    """A machine's id names its parameter and its runner; the job's first group shows the machine.

    In the end the parameter and the runner are gone, and the exit code is that of a done job.
    """

    async def play():
        async with open_machine(aws) as stage:
            name = f"{stage.parameter}/{imds.INSTANCE}"
            await asyncio.to_thread(ssm.put, stage.moto, name, stage.mint_token())
            job = stage.job("echo region $AWS_REGION")
            env = {"SIDECAR_TOKEN_PARAMETER": f"{stage.parameter}/{{instance}}"}
            async with stage.life(env=env) as life:
                await stage.check_end(life, 0)
            assert re.fullmatch(f"ec2-{imds.INSTANCE}-[0-9a-f]{{6}}", job.runner_name)
            assert "region eu-central-1" in job.log()
            (machine,) = life.find_events("machine.recognised")
            assert machine["instance"] == imds.INSTANCE
            assert (machine["life_cycle"], machine["tags"]) == ("on-demand", ["Name"])
            assert life.find_events("token.read", parameter=name)
            assert await asyncio.to_thread(ssm.read, stage.moto, name) is None

    run_side_by_side(play())
