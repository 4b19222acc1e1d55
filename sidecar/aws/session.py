"""Make a client of an AWS service: its deadlines, region, session and credentials."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Self

from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore import UNSIGNED
from botocore import exceptions as library

from sidecar.net.trust import make_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from aiobotocore.session import AioSession

    from sidecar.aws.calls import Service


class _TrustingSession(AIOHTTPSession):  # type: ignore[misc]  # the library has no types
    """The library's HTTP client, which trusts what all of the agent's calls trust."""

    def _build_verify_context(self) -> ssl.SSLContext:
        return make_context()


CONFIG = AioConfig(
    http_session_cls=_TrustingSession,
    connect_timeout=3.0,
    read_timeout=5.0,
    retries={"total_max_attempts": 1},
    max_pool_connections=2,
)
"""Seconds for one call. The library tries once; `aws.calls.backoff` decides about more tries."""
ANONYMOUS = CONFIG.merge(AioConfig(signature_version=UNSIGNED))
"""For calls that prove themselves by what they hold: no credentials are looked for."""


class ServiceClient:
    """A client of one AWS service, made on its first use and closed on leaving.

    Entering does nothing. So the cleanup can use the client even if a stop came very early.
    """

    config: ClassVar[AioConfig] = CONFIG

    def __init__(
        self,
        service: Service,
        region: str | None,
        make_session: Callable[[], AioSession] | None = None,
        *,
        anonymous: bool = False,
    ) -> None:
        self._anonymous = anonymous
        self._service = service
        self._region = region
        self._make_session = make_session
        self._session: AioSession | None = None
        self._client: Any = None
        self._opened = AsyncExitStack()
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def connect(self) -> Any:
        """Return the library's client, with credentials that are good now.

        Raises what the library raises, so use it inside `Call.run`.
        """
        async with self._connecting:
            if self._session is None:
                self._session = (self._make_session or get_session)()
            if not self._anonymous:
                await load_credentials(self._session)
            if self._client is None:
                self._client = await self._open(self._session)
        return self._client

    async def _open(self, session: AioSession) -> Any:
        try:
            return await self._opened.enter_async_context(
                session.create_client(
                    self._service.name,
                    region_name=self._region,
                    config=ANONYMOUS if self._anonymous else self.config,
                )
            )
        except ValueError as error:  # else it would look like an answer that cannot be read
            raise library.InvalidEndpointConfigurationError(msg=str(error)) from error


async def load_credentials(session: AioSession) -> None:
    """Load the session's credentials, and refresh them if they end soon.

    The library's credential providers raise more than their own errors: RuntimeError for
    credentials that the container endpoint gave and that had expired already, KeyError, ValueError,
    aiohttp's errors. All of them become CredentialRetrievalError, since all of them may pass.
    """
    try:
        credentials = await session.get_credentials()
        if credentials is not None:
            await credentials.get_frozen_credentials()
    except library.BotoCoreError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise library.CredentialRetrievalError(provider="task role", error_msg=reason) from error
    if credentials is None:
        raise library.NoCredentialsError
