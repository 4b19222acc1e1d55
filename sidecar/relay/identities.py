"""Who may ask, and for what: a secret path for each container, and one for everybody else.

A path of its own is minted before its container exists. The first peer to ask pins it, and what
the engine tells of the container's addresses decides afterwards; it rests while the container is
stopped, and ends with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.relay.refresher import Refresher

log = structlog.get_logger()

PREFIX = "/v2/credentials/"
MOST = 4096
"""Paths alive at a time; the one minted first makes room. No task's engine runs that many."""

_RANDOM_BYTES = 32
_INSPECT_TIMEOUT = 5.0
_INSPECT_EVERY = 1.0
"""Seconds from one look at a container to the next, however often the wrong peer asks."""

Inspect = Callable[[str], Awaitable[frozenset[str] | None]]
"""Asks the engine for a container's addresses, by its id.

An empty set if the container is gone, or stopped; None if it shares the daemon's network, and so
has no address of its own. It may raise whatever it likes, and is given 5 s.
"""


class Identity:
    """One who may ask: a container, or everybody else. Its path is a secret: there is no repr."""

    __slots__ = (
        "addresses",
        "container",
        "refresher",
        "looked_at",
        "pinned",
        "resting",
        "version",
    )

    def __init__(self, refresher: Refresher) -> None:
        self.refresher = refresher
        """Where its credentials come from."""
        self.version = 0
        """Moves on whenever it is decided anew who may ask: what was judged before is void."""
        self.container: str | None = None
        self.pinned: str | None = None
        """The peer that asked first, while the engine has not told better."""
        self.addresses: frozenset[str] | None = None
        """What the engine told; None: nothing yet."""
        self.looked_at = float("-inf")
        self.resting = False
        """Whether the container has stopped: nobody may ask until it runs again."""


class Identities:
    """All who may ask.

    Paths are looked up by a digest under a random key, so that how long a look-up takes tells
    nothing about a path: whoever guesses cannot know what is compared with what.
    """

    def __init__(self, refresher: Refresher, time: Callable[[], float]) -> None:
        self._keeper = refresher
        self._time = time
        self._key = secrets.token_bytes(_RANDOM_BYTES)
        self._minted: dict[bytes, Identity] = {}
        self._by_address: dict[str, Identity] = {}
        self._to_look_at: set[Identity] = set()
        self._work = asyncio.Event()
        self.inspect: Inspect | None = None
        """How to ask the engine; without, the first peer stays."""
        self.on_news: Callable[[], None] = lambda: None
        """Told when somebody who was refused may ask after all."""
        self.default = Identity(refresher)
        """Everybody who has no path of its own."""
        self.default_path = _fresh()
        self._common = {self._digest(self.default_path)}

    def share(self, path: str) -> None:
        """Let everybody who has no path of its own use this one too, beside the default path."""
        self._common.add(self._digest(path))

    def mint(self, refresher: Refresher | None = None) -> str:
        """Return a fresh secret path, for AWS_CONTAINER_CREDENTIALS_RELATIVE_URI.

        It is good at once, for whoever asks first. `keeper`: credentials other than the task's.
        """
        if len(self._minted) >= MOST:
            self._end(next(iter(self._minted)), "too many paths")
        path = _fresh()
        self._minted[self._digest(path)] = Identity(refresher or self._keeper)
        return path

    def tied(self, path: str, container: str, addresses: Iterable[str] = ()) -> None:
        """Say whose a minted path is, and its addresses as far as they are known already.

        May be said again. A path that is gone meanwhile stays so.
        """
        identity = self._minted.get(self._digest(path))
        if identity is None:
            return
        identity.container = container
        if known := frozenset(addresses):
            self._settle(identity, known)
        elif identity.pinned is not None:
            self._look_at(identity)

    def revoke(self, path: str) -> None:
        """End a minted path, at once; no error if there is none."""
        self._end(self._digest(path), "revoked")

    def died(self, container: str) -> None:
        """End whatever path the container has; no error if there is none."""
        for digest, identity in tuple(self._minted.items()):
            if identity.container == container:
                self._end(digest, "the container ended")

    def rests(self, container: str) -> None:
        """Let nobody use the container's path until it runs again; no error if there is none."""
        for identity in self._of(container):
            self._rest(identity)

    def runs(self, container: str) -> None:
        """Let its path be used again, from whatever address it has now."""
        for identity in self._of(container):
            if identity.resting:
                identity.resting = False
                identity.version += 1

    def containers(self) -> set[str]:
        """Return the ids of all containers that have a path."""
        return {one.container for one in self._minted.values() if one.container is not None}

    def by_path(self, path: str) -> Identity | None:
        """Return who is meant by a path, if it is anybody's."""
        digest = self._digest(path)
        return self.default if digest in self._common else self._minted.get(digest)

    def by_address(self, peer: str) -> Identity:
        """Return who asks from an address, as far as the engine told; else everybody else."""
        return self._by_address.get(peer, self.default)

    def may_ask(self, identity: Identity, peer: str) -> bool:
        """Tell whether this peer is the one; the first to ask is, until the engine tells better."""
        if identity is self.default:
            return True
        if identity.resting:  # or it has been started in this very moment
            self._look_at(identity)
            return False
        if identity.addresses is not None:
            right = peer in identity.addresses
        elif identity.pinned is None:
            identity.pinned = peer
            self._look_at(identity)
            return True
        else:
            right = peer == identity.pinned
        if not right:  # or it has come to another network since
            self._look_at(identity)
        return right

    async def verify(self) -> None:
        """Ask the engine for the addresses of who has asked, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._to_look_at:
                await self._verified(self._to_look_at.pop())

    def _look_at(self, identity: Identity) -> None:
        now = self._time()
        ready = self.inspect is not None and identity.container is not None
        if ready and now - identity.looked_at >= _INSPECT_EVERY:
            identity.looked_at = now
            self._to_look_at.add(identity)
            self._work.set()

    async def _verified(self, identity: Identity) -> None:
        container, inspect = identity.container, self.inspect
        if container is None or inspect is None:
            return
        try:
            async with asyncio.timeout(_INSPECT_TIMEOUT):
                found = await inspect(container)
        except Exception as error:  # noqa: BLE001  whatever it is, the engine has not told
            reason = type(error).__name__
            log.warning("relay.verification_failed", container=container, reason=reason)
            return
        if identity.container is None or found is None:  # ended meanwhile, or not to be told apart
            return
        if found:
            identity.resting = False
            self._settle(identity, found)
            self.on_news()
        else:
            self._rest(identity)

    def _of(self, container: str) -> list[Identity]:
        return [one for one in self._minted.values() if one.container == container]

    def _rest(self, identity: Identity) -> None:
        """Forget where it was: its address may be another container's by now."""
        identity.resting = True
        identity.pinned = None
        self._forget_addresses(identity)
        identity.addresses = None
        identity.looked_at = float("-inf")
        identity.version += 1

    def _settle(self, identity: Identity, addresses: frozenset[str]) -> None:
        """Believe the engine: these addresses are the container's, and no other."""
        if identity.pinned is not None and identity.pinned not in addresses:
            log.error(
                "relay.path_misused",
                reason="another peer was the first to ask by the container's path",
                container=identity.container,
                peer=identity.pinned,
            )
        identity.pinned = None
        self._forget_addresses(identity)
        identity.addresses = addresses
        identity.version += 1
        self._by_address |= dict.fromkeys(addresses, identity)

    def _end(self, digest: bytes, reason: str) -> None:
        if (identity := self._minted.pop(digest, None)) is None:
            return
        log.debug("relay.path_revoked", container=identity.container, reason=reason)
        identity.container = None
        identity.version += 1
        self._to_look_at.discard(identity)
        self._forget_addresses(identity)

    def _forget_addresses(self, identity: Identity) -> None:
        for address in identity.addresses or ():
            if self._by_address.get(address) is identity:
                del self._by_address[address]

    def _digest(self, path: str) -> bytes:
        return hashlib.blake2b(path.encode(), key=self._key, digest_size=32).digest()


def _fresh() -> str:
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
