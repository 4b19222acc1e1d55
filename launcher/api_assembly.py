"""Put the API together from its settings. The service and the Lambda function use the same."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from launcher.api.accounts import Accounts
from launcher.api.api import Api
from launcher.api.keys import Keys, make_fetch
from launcher.api.oidc import TokenVerifier
from launcher.api.orders import Orders
from launcher.api.proof import Proof
from launcher.assembly import open_resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.pools.source import LivePools
    from launcher.settings import ApiSettings


@dataclass(frozen=True, slots=True)
class ApiParts:
    """The API, and what goes on beside it."""

    api: Api
    orders: Orders
    pools: LivePools


@asynccontextmanager
async def open_api(settings: ApiSettings, region: str | None) -> AsyncIterator[ApiParts]:
    """Open an API whose pools are loaded. Raises SidecarError or LaunchError.

    Nothing but the pools is asked for yet.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        resources, pools, _ = await open_resources(settings, region, stack)
        session = await enter(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        keys = Keys(make_fetch(settings.api_issuer, session))
        verifier = TokenVerifier(settings.api_issuer, settings.api_audience, keys)
        url = urlsplit(settings.github_url)
        proof = await enter(Proof(f"{url.scheme}://{url.netloc}"))
        orders = Orders(resources, await enter(Accounts(resources, region)))
        await pools.load()
        yield ApiParts(Api(resources, verifier, proof, orders), orders, pools)
