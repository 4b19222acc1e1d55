"""Start a relay: listener, protocols and refresher together."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sidecar.aws.container_credentials import reason
from sidecar.errors import RelayError
from sidecar.host import max_open_files
from sidecar.net import http_server
from sidecar.net.file_budget import count_connections, divide_files
from sidecar.relay.audit import Audit
from sidecar.relay.background import running_beside
from sidecar.relay.ecs_protocol import EcsProtocol
from sidecar.relay.identities import Identities
from sidecar.relay.imds_protocol import HOSTS, ImdsDisabled, ImdsProtocol
from sidecar.relay.refresher import Clock, Pace, Refresher
from sidecar.relay.router import Router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from sidecar.aws.container_credentials import CredentialsSource
    from sidecar.relay.counts import Counts
    from sidecar.relay.refresher import State

log = structlog.get_logger()

# The addresses at which containers expect the ECS agent and the instance metadata.
_NAMES = ("169.254.170.2", *HOSTS)
LIMITS = http_server.Limits(connections=4096, backlog=4096)
"""High, because a job may start thousands of containers that ask at the same time."""
_WILDCARDS = ("", "0.0.0.0", "::")


class Imds(NamedTuple):
    """Turns the IMDS protocol on, which needs no secret path: see `serving`."""

    region: str | None
    """The region that SDKs get; None: they must have it from elsewhere."""
    machine: Mapping[str, str] = MappingProxyType({})
    """What else is no secret of the machine that this is, by the service's names."""


class Relay:
    """A running relay. Its URIs are secrets: there is no repr."""

    def __init__(self, host: str, port: int, identities: Identities, refresher: Refresher) -> None:
        self.host = host
        self.port = port
        self.identities = identities
        """Who may ask. Containers get their own paths here."""
        self._refresher = refresher

    @property
    def relative_uri(self) -> str:
        """The common secret path, for AWS_CONTAINER_CREDENTIALS_RELATIVE_URI."""
        return self.identities.default_path

    @property
    def uri(self) -> str:
        """The whole URL, for AWS_CONTAINER_CREDENTIALS_FULL_URI. Secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.relative_uri}"

    async def wait_until_fetched(self, timeout: float) -> None:
        """Wait until there are credentials.

        Raises RelayError after `timeout` seconds, or at once if upstream rejects the request.
        """
        await self._refresher.wait_until_fetched(timeout)

    def make_refresher(self, source: CredentialsSource) -> Refresher:
        """Make a refresher of other credentials for some containers; the caller runs it."""
        own = self._refresher
        made = Refresher(source, own.clock, own.pace, own.jitter)
        made.on_change = own.on_change
        return made

    @property
    def state(self) -> State:
        """The state for the health endpoint."""
        return self._refresher.state

    @property
    def counts(self) -> Counts:
        """The counts for the metrics."""
        return self._refresher.counts


@asynccontextmanager
async def serving(
    endpoint: CredentialsSource,
    host: str,
    port: int,
    *,
    clock: Clock | None = None,
    pace: Pace | None = None,
    jitter: Callable[[float, float], float] = random.uniform,
    limits: http_server.Limits | None = None,
    peers: Callable[[str], bool] | None = None,
    imds: Imds | None = None,
) -> AsyncIterator[Relay]:
    """Serve the credentials of `endpoint` at `host:port` (port 0: a free one) within the block.

    `peers` returns whether an address may ask at all; it is called for each request. `imds` turns
    on the protocol that needs no secret path: only for a relay whose every client may have the
    credentials. Without it, IMDS requests are refused.

    The first fetch begins at once, in the background; `Relay.wait_until_fetched` waits for it.
    Raises RelayError if the address cannot be bound.
    """
    if host in _WILDCARDS:
        raise RelayError(
            f"cannot serve the relay on {host or 'every address'}: it is reachable from outside "
            "the task (set SIDECAR_RELAY_ADDRESS to one local address)"
        )
    clock = clock or Clock()
    refresher = Refresher(endpoint, clock, pace or Pace(), jitter)
    identities = Identities(refresher, clock.now, peers)
    router = _make_router(identities, refresher, clock, imds)
    async with AsyncExitStack() as cleanup:
        listening = http_server.listening(
            host,
            port,
            router.answer,
            names=_NAMES,
            refuse=router.refuse,
            limits=limits or _limits(),
        )
        try:
            bound_host, bound_port = await cleanup.enter_async_context(listening)
        except OSError as error:
            raise RelayError(
                f"cannot serve the relay on {host}:{port}: {reason(error)} "
                "(change SIDECAR_RELAY_ADDRESS)"
            ) from error
        await cleanup.enter_async_context(running_beside(identities.verify()))
        await cleanup.enter_async_context(running_beside(refresher.run()))
        log.info("relay.started", host=bound_host, port=bound_port, upstream=endpoint.where)
        yield Relay(bound_host, bound_port, identities, refresher)


def _make_router(
    identities: Identities, refresher: Refresher, clock: Clock, imds: Imds | None
) -> Router:
    waiting = http_server.WaitingRequests()
    refresher.on_change = identities.on_change = waiting.answer_all
    return Router(
        identities,
        EcsProtocol(identities),
        ImdsProtocol(identities, imds.region, clock.now, imds.machine)
        if imds is not None
        else ImdsDisabled(),
        Audit(clock.now),
        refresher.counts,
        clock.now,
        waiting,
    )


def _limits() -> http_server.Limits:
    """Return the limits that the relay's share of the open files allows."""
    served, waiting = count_connections(divide_files(max_open_files()).relay)
    return LIMITS._replace(
        connections=min(LIMITS.connections, served), backlog=min(LIMITS.backlog, waiting)
    )
