"""Serve the instance metadata service, with the credentials of the instance's role.

No container of a task may reach it: a client that gets this role has gone around the relay.
It answers IMDSv1 and IMDSv2, as an instance does that nobody has hardened.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from local import aws
from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INSTANCE_ROLE = f"arn:aws:iam::{aws.ACCOUNT}:role/instance"
INSTANCE = "i-0123456789abcdef0"
_ROLES = "/latest/meta-data/iam/security-credentials/"


@dataclass
class Seen:
    """One request that came in."""

    method: str
    path: str
    peer: str


@dataclass
class Metadata:
    """The running service, for the code that started it."""

    held: aws.Credentials
    url: str = ""
    requests: list[Seen] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; `/_local/requests` lists what came in, oldest first."""
        if request.path == "/_local/requests":
            return web.json_response([asdict(seen) for seen in self.requests])
        self.requests.append(Seen(request.method, request.raw_path, request.remote or ""))
        if (request.method, request.path) == ("PUT", "/latest/api/token"):
            ttl = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "21600")
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": ttl}
            return web.Response(text="AQAAAlocal==", headers=headers)
        text = self._found(request.path)
        if text is None:
            return web.Response(status=404)
        return web.Response(text=text)

    def _found(self, path: str) -> str | None:
        role = INSTANCE_ROLE.rpartition("/")[2]
        return {
            _ROLES: role,
            _ROLES.rstrip("/"): role,
            _ROLES + role: self._credentials(),
            "/latest/meta-data/placement/region": aws.REGION,
            "/latest/meta-data/placement/availability-zone": f"{aws.REGION}b",
            "/latest/meta-data/placement/availability-zone/": f"{aws.REGION}b",
            "/latest/meta-data/instance-id": INSTANCE,
            "/latest/dynamic/instance-identity/document": json.dumps(
                {"region": aws.REGION, "instanceId": INSTANCE, "accountId": aws.ACCOUNT}
            ),
        }.get(path)

    def _credentials(self) -> str:
        now = datetime.fromtimestamp(time.time(), UTC)
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "Type": "AWS-HMAC",
                "AccessKeyId": self.held.access_key_id,
                "SecretAccessKey": self.held.secret_access_key,
                "Token": self.held.session_token,
                "Expiration": f"{self.held.expiration:%Y-%m-%dT%H:%M:%SZ}",
            }
        )


@asynccontextmanager
async def serving(endpoint: str, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Metadata]:
    """Serve the instance's metadata; the role's credentials are those of the STS at `endpoint`."""
    held = await asyncio.to_thread(aws.assume_role, endpoint, INSTANCE_ROLE, INSTANCE)
    metadata = Metadata(held)
    async with listening(metadata.answer, host, port) as metadata.url:
        yield metadata
