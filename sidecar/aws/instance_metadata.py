"""Ask the instance metadata service (IMDSv2) of the machine that the task runs on.

Source: AWS, "Spot Instance interruption notices": `spot/instance-action` answers 404 until the
notice comes, two minutes before the interruption.
"""

from __future__ import annotations

import aiohttp

from sidecar.net.marked_sockets import connector

CALL = aiohttp.ClientTimeout(total=2.0)
"""Seconds for one request; on Fargate nothing answers."""
TOKEN_SECONDS = 60


class MetadataError(Exception):
    """The service did not answer as it should; the text says why."""


async def has_spot_notice(url: str, *, so_mark: bool = False) -> bool:
    """Return whether the instance has a Spot interruption notice. Raises MetadataError.

    `so_mark`: ask on the agent's SO_MARK sockets, where network rules redirect all others.
    """
    try:
        async with aiohttp.ClientSession(
            url, timeout=CALL, trust_env=False, connector=connector(so_mark=so_mark)
        ) as session:
            headers = {"X-aws-ec2-metadata-token": await _get_token(session)}
            path = "/latest/meta-data/spot/instance-action"
            async with session.get(path, headers=headers) as answer:
                return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise MetadataError(str(error) or type(error).__name__) from error


async def _get_token(session: aiohttp.ClientSession) -> str:
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
    async with session.put("/latest/api/token", headers=headers) as answer:
        answer.raise_for_status()
        return (await answer.text()).strip()
