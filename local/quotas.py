"""Service Quotas, as servicequotas:GetServiceQuota sees them: moto knows none of Fargate's.

Source: Service Quotas' API reference, "GetServiceQuota".
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TARGET = "ServiceQuotasV20190624.GetServiceQuota"
ON_DEMAND, SPOT = "L-3032A538", "L-36FBB829"
"""Fargate's vCPUs that run at the same time."""


@dataclass
class Quotas:
    """The quotas of Fargate, by their codes."""

    values: dict[str, float] = field(default_factory=lambda: {ON_DEMAND: 100.0, SPOT: 100.0})
    url: str = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        given = json.loads(await request.read() or b"{}")
        code = given.get("QuotaCode", "")
        known = request.headers.get("X-Amz-Target") == TARGET and given["ServiceCode"] == "fargate"
        if not known or code not in self.values:
            return _say(400, {"__type": "NoSuchResourceException", "Message": "no such quota"})
        quota = {"ServiceCode": "fargate", "QuotaCode": code, "Value": self.values[code]}
        return _say(200, {"Quota": quota})


def _say(status: int, document: object) -> web.Response:
    kind = "application/x-amz-json-1.1"
    return web.Response(status=status, body=json.dumps(document).encode(), content_type=kind)


@asynccontextmanager
async def serving() -> AsyncIterator[Quotas]:
    """Serve the quotas until the block is left."""
    quotas = Quotas()
    async with listening(quotas.answer) as quotas.url:
        yield quotas
