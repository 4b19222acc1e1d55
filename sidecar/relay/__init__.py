"""The relay: the task role's credentials, on a local address, under a secret path.

The ECS agent answers one address that nested containers cannot reach, and throttles by it. The
relay asks it once per refresh, for however many, and answers from memory.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sidecar.aws.container_credentials import RELATIVE_URI, Endpoint, reason
from sidecar.errors import RelayError
from sidecar.host import most_files
from sidecar.net import http_server
from sidecar.relay.audit import Audit
from sidecar.relay.identities import Identities, Inspect
from sidecar.relay.imds_protocol import HOSTS, ImdsDisabled, ImdsProtocol
from sidecar.relay.protocol import EcsProtocol
from sidecar.relay.refresher import Clock, Pace, Refresher, State
from sidecar.relay.router import Router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from sidecar.aws.container_credentials import Source
    from sidecar.relay.counts import Counts

__all__ = [
    "RELATIVE_URI",
    "Clock",
    "Endpoint",
    "Imds",
    "Inspect",
    "Pace",
    "Relay",
    "State",
    "serving",
]

log = structlog.get_logger()

# The names by which containers know the ECS agent, and the instance.
_NAMES = ("169.254.170.2", *HOSTS)
LIMITS = http_server.Limits(connections=4096, backlog=4096)
"""A job may start thousands of containers that all ask at once."""
_OTHER_FILES = 256
"""What the agent needs besides: pipes, its own connections, what libraries open."""
_WILDCARDS = ("", "0.0.0.0", "::")


class Imds(NamedTuple):
    """That there is an instance metadata face, which needs no secret path: see `serving`."""

    region: str | None
    """What it tells SDKs; None: they have to know."""


class Relay:
    """A relay that is being served. Its URIs are secrets: there is no repr."""

    def __init__(self, host: str, port: int, identities: Identities, refresher: Refresher) -> None:
        self.host = host
        self.port = port
        self.identities = identities
        """Who may ask: where a container's own path is minted."""
        self._keeper = refresher

    @property
    def relative_uri(self) -> str:
        """The secret path of all, for AWS_CONTAINER_CREDENTIALS_RELATIVE_URI."""
        return self.identities.default_path

    @property
    def uri(self) -> str:
        """The whole URL, for AWS_CONTAINER_CREDENTIALS_FULL_URI. Secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.relative_uri}"

    async def warm(self, timeout: float) -> None:
        """Return once credentials are held.

        Raises RelayError after `timeout` seconds, or at once when upstream rejects the request.
        """
        await self._keeper.warm(timeout)

    @property
    def state(self) -> State:
        """What health tells."""
        return self._keeper.state

    @property
    def counts(self) -> Counts:
        """What metrics tell."""
        return self._keeper.counts


@asynccontextmanager
async def serving(
    endpoint: Source,
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
    """Serve what `endpoint` answers at `host:port` (port 0: a free one).

    `peers` tells of an address whether it may ask at all; it is asked again after a minute at the
    latest. `imds` shows the face that asks for no secret path: only where whoever can connect may
    have the credentials. Without it, that face refuses.

    Fetching begins at once, in the background; `Relay.warm` waits for it. Raises RelayError when
    the address cannot be had.
    """
    if host in _WILDCARDS:
        raise RelayError(
            f"cannot serve the relay on {host or 'every address'}: it is reachable from outside "
            "the task (set SIDECAR_RELAY_ADDRESS to one local address)"
        )
    clock = clock or Clock()
    refresher = Refresher(endpoint, clock, pace or Pace(), jitter)
    identities = Identities(refresher, clock.now)
    face = ImdsProtocol(identities, imds.region, clock.now) if imds is not None else ImdsDisabled()
    audit = Audit(clock.now)
    if limits is None:
        most = max(most_files() - _OTHER_FILES, _OTHER_FILES // 2)
        limits = LIMITS._replace(connections=min(LIMITS.connections, most))
    later = http_server.Later()
    refresher.on_news = identities.on_news = later.come
    front = Router(EcsProtocol(identities), face, audit, refresher.counts, clock.now, later, peers)
    async with AsyncExitStack() as undo:
        listening = http_server.listening(
            host, port, front.answer, names=_NAMES, refuse=front.refuse, limits=limits
        )
        try:
            bound, free = await undo.enter_async_context(listening)
        except OSError as error:
            raise RelayError(
                f"cannot serve the relay on {host}:{port}: {reason(error)} "
                "(change SIDECAR_RELAY_ADDRESS)"
            ) from error
        await undo.enter_async_context(running_beside(identities.verify()))
        await undo.enter_async_context(running_beside(refresher.keep()))
        log.info("relay.started", host=bound, port=free, upstream=endpoint.where)
        yield Relay(bound, free, identities, refresher)


@asynccontextmanager
async def running_beside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run `work` beside the block, and end it with the block.

    What the block raises leaves as it is: a TaskGroup alone would wrap it into a group.
    """
    raised: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 -- raised again below
            raised = error
        task.cancel()
    if raised is not None:
        raise raised
