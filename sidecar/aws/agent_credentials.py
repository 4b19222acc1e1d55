"""The agent's own AWS credentials, fetched on SO_MARK sockets, which no rule for jobs redirects.

botocore has a provider for container credentials, but its sockets cannot be marked: where rules
redirect the jobs' requests, they would redirect its requests too.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from aiobotocore.credentials import AioRefreshableCredentials
from botocore.exceptions import CredentialRetrievalError

from sidecar.aws.container_credentials import UnavailableError, UpstreamError
from sidecar.aws.own_session import make_session
from sidecar.net.retry import call_with_retries, growing

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

    from sidecar.aws.container_credentials import Credentials, CredentialsSource

_METHOD = "container-role"
_TIMEOUT = 3.0
_TRIES = 3


class AgentCredentials:
    """A credential provider, in botocore's sense, of an AWS session of its own."""

    METHOD = _METHOD

    def __init__(self, endpoint: CredentialsSource, *, alone: bool = True) -> None:
        self._endpoint = endpoint
        self.role_arn: str | None = None
        """The task role, as the endpoint names it; None before a fetch, or if it does not."""
        self._session = make_session()
        self._in_chain = alone
        if alone:
            self._session.register_component("credential_provider", self)

    @property
    def session(self) -> AioSession:
        """The session. With `alone` it uses only these credentials, else the library's usual order.

        Raises what botocore raises of the AWS configuration.
        """
        if not self._in_chain:  # late, because the library reads its files here
            self._session.get_component("credential_provider").insert_before(_METHOD, self)
            self._in_chain = True
        return self._session

    async def load(self) -> AioRefreshableCredentials:
        """Fetch them, as one provider in a chain. Raises CredentialRetrievalError."""
        return await self.load_credentials()

    async def load_credentials(self) -> AioRefreshableCredentials:
        """Fetch them, and again before each expiry. Raises CredentialRetrievalError."""
        return AioRefreshableCredentials.create_from_metadata(
            await self._metadata(), refresh_using=self._metadata, method=_METHOD
        )

    async def _metadata(self) -> dict[str, str]:
        try:
            credentials = await self._fetch()
        except UpstreamError as error:
            raise CredentialRetrievalError(provider=_METHOD, error_msg=str(error)) from error
        self.role_arn = credentials.role_arn
        document = json.loads(credentials.body)
        return {
            "access_key": document["AccessKeyId"],
            "secret_key": document["SecretAccessKey"],
            "token": document["Token"],
            "expiry_time": document["Expiration"],
        }

    async def _fetch(self) -> Credentials:
        policy = growing(UnavailableError, first=0.2, longest=1.0)
        async with self._endpoint.connected() as fetch:
            return await call_with_retries(
                lambda: fetch(time.time(), _TIMEOUT), policy, tries=_TRIES
            )
