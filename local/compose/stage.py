"""All that the task meets, at the addresses that it knows from compose.yaml."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from local import aws, ecs_agent, faults, github, imds, runner
from local.compose import images
from local.demo.stage import PAT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVERYWHERE = "0.0.0.0"
NAME = "stand-ins"
AWS_PORT, IMAGES_PORT, GITHUB_PORT = 5000, 8000, 443
ECS_AGENT, INSTANCE_METADATA = "169.254.170.2", "169.254.169.254"
ENDPOINT = "compose"
"""What the task's paths at the ECS agent end with."""
RUNNER = Path("/srv/actions-runner")
"""Shared with the runner's container: GitHub's program, which its image has, knows only GitHub."""
CA = RUNNER / "ca.pem"
"""Whom the task trusts beside all others: the agent speaks HTTPS with GitHub."""
PYTHON = Path("/usr/bin/python3")
"""The interpreter there."""


@dataclass(frozen=True)
class Stage:
    """What stands."""

    moto: str
    """The URL of SSM and STS, past `aws`."""
    aws: faults.Proxy
    ecs: ecs_agent.Agent
    instance: imds.Metadata
    github: github.GitHub

    @property
    def address(self) -> str:
        """This container's own address: the job's containers know no names."""
        return socket.gethostbyname(socket.gethostname())


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Start all stand-ins, and lay out the runner's program."""
    await asyncio.to_thread(runner.install, RUNNER, PYTHON)
    tls = await asyncio.to_thread(_certified)
    async with AsyncExitStack() as down:
        enter = down.enter_async_context
        moto = down.enter_context(aws.serving())
        task = ecs_agent.Task(service=None)
        agent = await enter(ecs_agent.serving(ECS_AGENT, 80, task=task, aws_endpoint=moto))
        agent.credentials_id = agent.container_id = ENDPOINT
        await enter(images.serving(EVERYWHERE, IMAGES_PORT))
        yield Stage(
            moto,
            await enter(faults.serving(moto, EVERYWHERE, AWS_PORT)),
            agent,
            await enter(imds.serving(moto, INSTANCE_METADATA, 80)),
            await enter(github.serving(EVERYWHERE, GITHUB_PORT, pats=[PAT], tls=tls)),
        )


def _certified() -> ssl.SSLContext:
    """Make GitHub's certificate, and write down who issued it."""
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(CA))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert(NAME).configure_cert(tls)
    return tls
