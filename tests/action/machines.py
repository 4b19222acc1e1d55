"""The stage of launches whose runners are on machines of EC2: each runs a real agent."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from local import agent, ec2, faults, imds, launches
from local.runner import install
from local.stage import PAT
from tests.action import jobs
from tests.launches.stage import PATIENCE, PREFIX, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.composite import Composite, Job
    from local.ec2 import ControlPlane, Machine

TEMPLATE = "lt-0123456789abcdef0"
SAME = {"github-token": PAT, "launch-template-id": TEMPLATE, "parameter_prefix": PREFIX}
"""Inputs that start and stop have in common."""
AGENT = f'#!/bin/sh\nexec "{agent.COMMAND[0]}" run\n'
"""User data that run the agent."""
OF_ECS = ("AWS_REGION", "AWS_EC2_METADATA_DISABLED", "SIDECAR_TOKEN_PARAMETER")
"""Variables that nobody sets on a machine."""


class MachineStage(Stage):
    """The surroundings of a launcher, with an EC2 in them."""

    ec2: ControlPlane
    front_of_ec2: faults.Proxy
    """The proxy in front of EC2, which can make calls fail."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self.may_boot = asyncio.Event()
        """Set: machines run what they have to run."""
        self.may_boot.set()

    def environment(self, **given: str) -> dict[str, str]:
        """Return the launcher's environment."""
        return {**super().environment(**given), "AWS_ENDPOINT_URL_EC2": self.front_of_ec2.url}

    async def run_machine(self, machine: Machine) -> None:
        """Run the user data of a machine, or else the agent that its image has."""
        await self.may_boot.wait()
        folder = self.folder / machine.id
        folder.mkdir(mode=0o777)
        folder.chmod(0o1777)  # whatever the umask is
        runner = await asyncio.to_thread(install, folder / "runner")
        argv = agent.COMMAND
        if machine.user_data:
            (folder / "user-data").write_text(machine.user_data)
            argv = "/bin/sh", str(folder / "user-data")
        facts = imds.Instance(id=machine.id, tags=machine.tags, token_required=True)
        async with imds.serving(instance=facts) as metadata:
            env = agent.environment(
                ssm=self.ssm.url,
                ecs={},
                github_url="",
                parameter="",
                runner_folder=runner,
                folder=folder,
            )
            env |= {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url, "SIDECAR_PLATFORM": "ec2"}
            env = {key: value for key, value in env.items() if key not in OF_ECS}
            async with agent.AgentProcess.start(argv, env, folder) as process:
                code = await process.wait_for_end()
            for line in process.text.splitlines():
                machine.say(line)
            machine.say(f"runner-machine: the agent has ended with exit code {code}")

    async def check_nothing_left(self, seconds: float = PATIENCE) -> None:
        """Check that no machine, task, runner or token is left, and no secret was told."""
        await self.ec2.wait_for(lambda: self.ec2.living() == [], seconds)
        told = repr(self.ec2.requests)
        assert [secret for secret in self.find_secrets() if secret in told] == []
        await super().check_nothing_left(seconds)
        assert self.ecs.requests == []


@asynccontextmanager
async def open_machines(moto: str) -> AsyncIterator[MachineStage]:
    """Open a stage with an EC2 whose machines end themselves with their agents."""
    async with (
        launches.open_stage(moto, make=MachineStage) as stage,
        ec2.serving(stage.run_machine) as stage.ec2,
        faults.serving(stage.ec2.url) as stage.front_of_ec2,
    ):
        yield stage


def start(job: Job) -> Composite:
    """Use the action that starts runners; its workspace has a file of user data."""
    (job.workspace / "user-data.sh").write_text(AGENT)
    return jobs.start(job)
