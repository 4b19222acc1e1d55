"""The agent's own AWS credentials, fetched on sockets that no rule for jobs catches.

botocore has a provider for container credentials, but its sockets cannot be marked: with jobs
sent elsewhere it would be sent there too. So the agent's AWS clients get theirs from here.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import stamina
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import CredentialRetrievalError

from sidecar.aws.container_credentials import UnavailableError, UpstreamError

if TYPE_CHECKING:
    from sidecar.aws.container_credentials import Credentials, Endpoint

_METHOD = "container-role"
_TIMEOUT = 3.0
_TRIES = 3


class AgentCredentials:
    """What an AWS session asks for credentials: a provider in botocore's sense."""

    METHOD = _METHOD

    def __init__(self, endpoint: Endpoint, *, alone: bool = True) -> None:
        self._endpoint = endpoint
        self.role_arn: str | None = None
        """The task role, as upstream names it; None until asked, or if it does not say."""
        self._session = AioSession()
        self._in_chain = alone
        if alone:
            self._session.register_component("credential_provider", self)

    @property
    def session(self) -> AioSession:
        """Its clients use these credentials: no other if `alone`, else in the library's order.

        Raises what botocore raises of the AWS configuration.
        """
        if not self._in_chain:  # only now: the library reads its files for it
            self._session.get_component("credential_provider").insert_before(_METHOD, self)
            self._in_chain = True
        return self._session

    async def load(self) -> AioRefreshableCredentials:
        """Do the same, as one provider in a chain."""
        return await self.load_credentials()

    async def load_credentials(self) -> AioRefreshableCredentials:
        """Fetch, and keep fresh from then on. Raises CredentialRetrievalError."""
        return AioRefreshableCredentials.create_from_metadata(
            await self._metadata(), refresh_using=self._metadata, method=_METHOD
        )

    async def _metadata(self) -> dict[str, str]:
        try:
            held = await self._fetched()
        except UpstreamError as error:
            raise CredentialRetrievalError(provider=_METHOD, error_msg=str(error)) from error
        self.role_arn = held.role_arn
        document = json.loads(held.body)
        return {
            "access_key": document["AccessKeyId"],
            "secret_key": document["SecretAccessKey"],
            "token": document["Token"],
            "expiry_time": document["Expiration"],
        }

    async def _fetched(self) -> Credentials:
        async with self._endpoint.asking() as ask:
            async for attempt in stamina.retry_context(
                on=UnavailableError, attempts=_TRIES, timeout=None, wait_initial=0.2, wait_max=1.0
            ):
                with attempt:
                    return await ask(time.time(), _TIMEOUT)
        raise AssertionError  # the last attempt returns or raises
