"""The stage of a life on a machine: no ECS, but the metadata service of an EC2 instance."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from local import imds
from tests.lives import stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ECS_VARIABLES = (
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EXECUTION_ENV",
    "ECS_AGENT_URI",
    "ECS_CONTAINER_METADATA_URI_V4",
)


class MachineStage(stage.Stage):
    """The stage of one life on a machine."""

    metadata: imds.Metadata
    """The machine's metadata service."""

    @property
    def instance(self) -> imds.Instance:
        """The machine."""
        return self.metadata.instance

    def environment(self) -> dict[str, str]:
        """Return the agent's environment, as a unit of systemd has it."""
        found = super().environment()
        for name in (*ECS_VARIABLES, "AWS_REGION", "AWS_EC2_METADATA_DISABLED"):
            found.pop(name, None)
        return {
            **found,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata.url,
            "SIDECAR_PLATFORM": "ec2",
        }


@asynccontextmanager
async def open_machine(
    aws: str = "",
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    **facts: Any,
) -> AsyncIterator[MachineStage]:
    """Open a stage whose agent runs on an instance of these facts (`imds.Instance`).

    `aws` is the endpoint of an SSM and STS that several stages share.
    """
    facts = {"token_required": True, "tags": {"Name": "runner"}} | facts
    async with (
        stage.open_stage(aws, kind=MachineStage) as opened,
        imds.serving(opened.moto, host, port, instance=imds.Instance(**facts)) as opened.metadata,
    ):
        yield opened
