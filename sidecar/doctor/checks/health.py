"""Check the health address: an agent that lives here already, or somebody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import aiohttp

from sidecar.examination.finding import Finding, ok, warning

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask who listens there."""
    address = setup.settings.health_address
    if address is None:
        return [ok("off: SIDECAR_HEALTH_ADDRESS=off")]
    if address.port == 0:
        return [ok("any free port")]
    timeout = aiohttp.ClientTimeout(total=setup.patience.request)
    try:
        async with setup.http.get(f"http://{address}/healthz", timeout=timeout) as answer:
            phase = json.loads(await answer.content.read(4096))["phase"]
    except aiohttp.ClientConnectorError:
        return [ok(f"{address} is free: no agent lives here now")]
    except (TimeoutError, aiohttp.ClientError, ValueError, KeyError, TypeError):
        text = f"another program listens at {address}: a life answers at another port then"
        return [warning(text, "end it, set SIDECAR_HEALTH_ADDRESS, or ask `runner-sidecar health`")]
    return [ok(f"an agent lives here already, in the phase {phase}")]
