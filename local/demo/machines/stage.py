"""The stage of machines: that of all launches, and EC2, whose machines really run."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from local import aws, ec2, ecs, launches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.ec2 import ControlPlane, MachineHost

POOL = """\
[[pool]]
name = "machines"
place = "ec2"
labels = ["machine"]
launch_template = "runner"
capacities = ["spot", "on-demand"]
instance_types = ["m7i.large"]
subnets = ["subnet-0000000a"]
instance_profile = "runner"
"""


class MachineStage(launches.Stage):
    """The surroundings of a launcher whose pool has machines."""

    ec2: ControlPlane
    machines: MachineHost
    other: aws.Credentials | None = None
    """Credentials of the other account, where there is one."""

    def environment(self, **given: str) -> dict[str, str]:
        """Return the launcher's environment: where EC2 is, too."""
        return {**super().environment(**given), "AWS_ENDPOINT_URL_EC2": self.ec2.url}

    async def wait_until_told(self) -> None:
        """Wait until AWS has told the queue of all that has happened, to machines too."""
        await super().wait_until_told()
        await self.ec2.events.wait_until_told()

    async def find_parameters(self) -> list[str]:
        """List the token parameters that are there now, in every account."""
        found = await super().find_parameters()
        if self.other is not None:
            names = asyncio.to_thread(aws.names, self.moto, launches.PREFIX, self.other)
            found += await names
        return found

    def find_secrets(self) -> list[str]:
        """Return all secrets that there were, those of the other account too."""
        more = [self.other.secret_access_key] if self.other is not None else []
        return [*super().find_secrets(), *more]


@asynccontextmanager
async def open_stage(moto: str) -> AsyncIterator[MachineStage]:
    """Open the stage, with a queue that hears of machines."""
    kept = {key: os.environ[key] for key in os.environ if key.startswith("COVERAGE")}
    async with launches.open_stage(moto, queue=True, make=MachineStage) as stage:
        stage.pools.write_text(POOL, encoding="utf-8")
        stage.machines = ec2.MachineHost(
            stage.folder, moto, stage.ssm.url, (stage.github.url,), kept
        )
        send = ecs.send_to_queue(moto, stage.queues.main)

        async def tell(event: dict[str, Any]) -> None:
            if event["account"] == aws.ACCOUNT:  # those of another account stay there
                await send(event)

        async with ec2.serving(stage.machines.boot, tell=tell) as stage.ec2:
            yield stage
