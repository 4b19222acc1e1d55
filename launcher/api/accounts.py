"""Start tasks in callers' own accounts: assume a role there, and keep its clients for a while.

A role is assumed with the external id that the account's owner demands. The session has tags that
say for whom it is, unless the caller speaks GARO's contract: its roles do not allow tags.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiobotocore.session import AioSession, get_session

from launcher.places.ec2 import Ec2
from launcher.tokens import TokenStore
from launcher.work import EcsClients
from sidecar.aws.calls import STS, Call, backoff
from sidecar.aws.session import ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from launcher.pools.callers import Account
    from launcher.work import Resources

SPARE = 300.0
"""Seconds before its end from which a session is not used any more: a start takes less."""
TIMEOUT = 10.0
"""Seconds after which no more tries of one AssumeRole are begun."""
MOST = 100
"""Sessions that are kept; the one that was opened first goes first."""


@dataclass(frozen=True, slots=True)
class Guest:
    """The account that a task is started in, and for whom."""

    account: Account
    caller: str
    region: str | None
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Session:
    resources: Resources
    until: float
    closing: AsyncExitStack
    users: int = 0
    retired: bool = False


class Accounts:
    """The resources of each account; leaving closes them."""

    def __init__(self, around: Resources, region: str | None) -> None:
        self._around = around
        self._region = region
        self._sts = ServiceClient(STS, region)
        self._sessions: dict[Guest, _Session] = {}
        self._changing = asyncio.Lock()

    async def __aenter__(self) -> Accounts:
        return self

    async def __aexit__(self, *_: object) -> None:
        for guest in list(self._sessions):
            await self._retire(guest)
        await self._sts.__aexit__(None, None, None)

    @asynccontextmanager
    async def open(self, guest: Guest) -> AsyncIterator[Resources]:
        """Return the resources of an account for the block. Raises AwsError."""
        async with self._changing:
            session = await self._get(guest)
            session.users += 1
        try:
            yield session.resources
        finally:
            session.users -= 1
            if session.retired and not session.users:
                await session.closing.aclose()

    async def _get(self, guest: Guest) -> _Session:
        found = self._sessions.get(guest)
        if found is not None and found.until - self._around.now() > SPARE:
            return found
        if found is not None:
            await self._retire(guest)
        credentials = await self._assume(guest)
        while len(self._sessions) >= MOST:
            await self._retire(next(iter(self._sessions)))
        opened = self._sessions[guest] = self._open(guest, credentials)
        return opened

    def _open(self, guest: Guest, credentials: Mapping[str, Any]) -> _Session:
        def make_session() -> AioSession:
            session = get_session()
            session.set_credentials(
                credentials["AccessKeyId"],
                credentials["SecretAccessKey"],
                credentials["SessionToken"],
            )
            return session

        region = guest.region or self._region
        clients = EcsClients(region, make_session)
        store = TokenStore(self._around.parameter_prefix, region, make_session)
        closing = AsyncExitStack()
        closing.push_async_exit(clients)
        closing.push_async_exit(store)
        machines = Ec2(region, make_session=make_session)
        closing.push_async_exit(machines)
        resources = replace(
            self._around, ecs=clients, store=store, ec2=machines, account=guest.account.number
        )
        return _Session(resources, self._around.now() + guest.account.session, closing)

    async def _retire(self, guest: Guest) -> None:
        """Use a session for nothing more; it is closed when nobody uses it any longer."""
        session = self._sessions.pop(guest)
        session.retired = True
        if not session.users:
            await session.closing.aclose()

    async def _assume(self, guest: Guest) -> Mapping[str, Any]:
        account = guest.account
        action = f"cannot assume {account.role} with the external_id of {guest.caller}"
        call = Call(action, STS, "sts:AssumeRole", "LAUNCHER_POOLS")
        request: dict[str, Any] = {
            "RoleArn": account.role,
            "RoleSessionName": re.sub(r"[^\w+=,.@-]", "-", f"runner-launcher-{guest.caller}")[:64],
            "ExternalId": account.external_id,
            "DurationSeconds": account.session,
        }
        if guest.tags:
            request["Tags"] = [{"Key": key, "Value": value} for key, value in guest.tags]

        async def assume() -> Mapping[str, Any]:
            client = await self._sts.connect()
            answer = await client.assume_role(**request)
            found: Mapping[str, Any] = answer["Credentials"]
            return found

        return await call_with_retries(lambda: call.run(assume), backoff(), seconds=TIMEOUT)
