"""Start all stand-ins of the task, at the addresses that it knows from compose.yaml."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from local import ecs_agent, imds, runner
from local.compose import images
from local.stage import Addresses, Stage, start_stand_ins

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVERYWHERE = "0.0.0.0"
NAME = "stand-ins"
AWS_PORT, IMAGES_PORT, GITHUB_PORT = 5000, 8000, 443
ECS_AGENT, INSTANCE_METADATA = "169.254.170.2", "169.254.169.254"
ADDRESSES = Addresses((EVERYWHERE, AWS_PORT), (ECS_AGENT, 80), (EVERYWHERE, GITHUB_PORT))
ENDPOINT = "compose"
"""What the task's paths at the ECS agent end with."""
RUNNER = Path("/srv/actions-runner")
"""Shared with the runner's container, whose image has GitHub's program: that knows only GitHub."""
CA = RUNNER / "ca.pem"
"""The certificate that the task trusts beside all others: the agent speaks HTTPS with GitHub."""
PYTHON = Path("/usr/bin/python3")
"""The interpreter in the runner's container."""


class ComposeStage(Stage):
    """The stage of the task; `instance` serves the instance's metadata."""

    instance: imds.Metadata

    @property
    def address(self) -> str:
        """This container's own address: the job's containers know no names."""
        return socket.gethostbyname(socket.gethostname())


@asynccontextmanager
async def open_stage() -> AsyncIterator[ComposeStage]:
    """Start all stand-ins, and install the runner's program."""
    await asyncio.to_thread(runner.install, RUNNER, PYTHON)
    tls = await asyncio.to_thread(_make_certificate)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        task = ecs_agent.Task(service=None)
        started = await enter(start_stand_ins(at=ADDRESSES, task=task, use_sts=True, tls=tls))
        started.ecs.credentials_id = started.ecs.container_id = ENDPOINT
        stage = ComposeStage(started, RUNNER, RUNNER)
        stage.instance = await enter(imds.serving(stage.moto, INSTANCE_METADATA, 80))
        await enter(images.serve(EVERYWHERE, IMAGES_PORT))
        yield stage


def _make_certificate() -> ssl.SSLContext:
    """Make GitHub's certificate, and write its issuer to the file `CA`."""
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(CA))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert(NAME).configure_cert(tls)
    return tls
