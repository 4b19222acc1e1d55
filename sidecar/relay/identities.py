"""Keep who may ask: each container has its own secret path, everybody else shares one.

A container's path is made before the container exists. At first only the peer that used it first
may use it; later only the addresses that the engine reports for the container. The path is
suspended while the container is stopped, and ends with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from sidecar.relay.starts import Starts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.relay.protocol import Refused
    from sidecar.relay.refresher import Refresher

log = structlog.get_logger()

PREFIX = "/v2/credentials/"
MOST = 4096
"""Limit of valid paths; the oldest is removed first. No task's engine runs that many containers."""

_RANDOM_BYTES = 32
_INSPECT_TIMEOUT = 5.0
_INSPECT_EVERY = 1.0
"""Seconds between two inspections of a container, however often the wrong peer asks."""

Inspect = Callable[[str], Awaitable[frozenset[str] | None]]
"""Asks the engine for the addresses of a container, by its id.

Returns an empty set if the container is gone or stopped; None if it shares the daemon's network,
and so has no address of its own. It may raise any Exception, and may take 5 s.
"""


class Identity:
    """One container, or all clients without a path of their own. The path is secret: no repr."""

    __slots__ = (
        "addresses",
        "confirmed",
        "container",
        "first_peer",
        "forgotten",
        "inspected_at",
        "refresher",
        "refusal",
        "rule",
        "suspended",
    )

    def __init__(self, refresher: Refresher) -> None:
        self.refresher = refresher
        """Where its credentials come from."""
        self.refusal: Refused | None = None
        """Why it gets none, whatever there is: the rules say so."""
        self.rule: str | None = None
        """The rule that gave it other credentials than its job's, or none."""
        self.container: str | None = None
        self.first_peer: str | None = None
        """The peer that asked first; None once the engine has reported the addresses."""
        self.addresses: frozenset[str] | None = None
        """The addresses that the engine reported; None: none yet."""
        self.inspected_at = float("-inf")
        self.confirmed = 0
        """How many starts had begun or ended when the engine was last asked for its addresses."""
        self.forgotten = 0
        """The number of times its addresses were forgotten: an answer from before that is void."""
        self.suspended = False
        """Whether the container is stopped: nobody may ask until it runs again."""


class Identities:
    """All clients of a relay, and which of them may ask for what.

    Paths are looked up by a digest under a random key. So the time of a look-up says nothing about
    a path: somebody who guesses paths cannot know which digests are compared.
    """

    def __init__(
        self,
        refresher: Refresher,
        time: Callable[[], float],
        policy: Callable[[str], bool] | None = None,
    ) -> None:
        self._refresher = refresher
        self._time = time
        self.policy = policy
        """Returns whether a peer, by its address, may ask at all; None: every peer may."""
        self.hold_reason: Refused | None = None
        """Why nobody may ask yet, or at all: no job is admitted, or it has no role."""
        self.version = 0
        """Grows by one when a path or an address gets another owner, or when the right to ask
        changes. Earlier decisions are not valid then."""
        self._key = secrets.token_bytes(_RANDOM_BYTES)
        self._minted: dict[bytes, Identity] = {}
        self._by_address: dict[str, Identity] = {}
        self._to_inspect: set[Identity] = set()
        self._work = asyncio.Event()
        self.inspect: Inspect | None = None
        """Asks the engine; without it, the peer that asked first stays the only one."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when a client that was refused may ask now."""
        self.default = Identity(refresher)
        """Everybody who has no path of their own."""
        self.job: str | None = None
        """Who the job is, in one line; None: there are no rules, or it is not known yet."""
        self.is_own: Callable[[str], bool] | None = None
        """Returns whether an address is the task's own. With it, the default is for these peers
        alone, and a container is judged as what it is: there are rules for containers."""
        self._stranger = Identity(refresher)
        self.on_known: Callable[[Iterable[str]], None] = lambda _: None
        """Called with addresses whose container is known from now on."""
        self._starts = Starts(time)
        self._confirmed: Identity | None = None
        """The container whose addresses the engine has just told, for those who waited for it."""
        self._inspecting = False
        self.default_path = _new_path()
        self._common = {self._digest(self.default_path)}
        self._shared: set[bytes] = set()

    def set_job(self, job: str, rule: str) -> None:
        """Set who the job is, and by which rule it has its role, for the audit."""
        self.job = job
        self.default.rule = rule
        self.version += 1

    def separate(self, is_own: Callable[[str], bool], refusal: Refused) -> None:
        """Judge each container by its own identity from now on, never as the job's steps.

        `is_own` returns whether an address is the task's own. A peer that is neither that nor a
        container whose address is known is refused: it may be any container.
        """
        self.is_own = is_own
        self._stranger.refusal = refusal
        self.version += 1

    def begin_start(self) -> None:
        """Note that a container is about to get an address: it may ask by it at once.

        That may be the address of one that has ended, of which the engine's event is yet to come.
        """
        self._starts.begin()
        self.version += 1

    def end_start(self) -> None:
        """Note that it has it; the engine's event says so a moment later."""
        self._starts.end()
        self.version += 1

    def must_confirm(self, identity: Identity) -> bool:
        """Return whether the engine must be asked first who has an address; it is asked then.

        `identity` is whose it was. Another container may have it by now, if one was started since.
        """
        if self.is_own is None or identity is self.default or identity is self._confirmed:
            return False
        if identity is self._stranger:
            return self._expects_container()
        if not self._starts.under_way and identity.confirmed == self._starts.count:
            return False
        self._inspect_now(identity)
        return True

    def _expects_container(self) -> bool:
        """Return whether an unknown address may be a container's that the engine is to tell of."""
        return self._starts.are_recent or self._inspecting or bool(self._to_inspect)

    def share(self, path: str) -> None:
        """Add a path for everybody who has no path of their own, beside the default path."""
        self._shared.add(self._digest(path))
        self._common |= self._shared
        self.version += 1

    def hold(self, reason: Refused) -> None:
        """Refuse everybody for this reason, but by a shared path: no job knows that path.

        Other containers of the task do.
        """
        self.hold_reason = reason
        self.version += 1

    def release(self) -> None:
        """Let everybody ask from now on: a job is admitted, and has a role."""
        self.hold_reason = None
        self.version += 1
        self.on_change()

    def find_hold(self, path: str) -> Refused | None:
        """Return why a request by this path is refused, whoever sends it; None if it is not."""
        if self.hold_reason is None or self._digest(path) in self._shared:
            return None
        return self.hold_reason

    def mint(
        self,
        refresher: Refresher | None = None,
        *,
        refusal: Refused | None = None,
        rule: str | None = None,
    ) -> str:
        """Return a new secret path, for AWS_CONTAINER_CREDENTIALS_RELATIVE_URI.

        It is valid at once, for the first peer that asks. `refresher`: of credentials other than
        the job's; `refusal`: why it gets none; `rule` names the rule that says so.
        """
        if len(self._minted) >= MOST:
            self._end(next(iter(self._minted)), "too many paths")
        path = _new_path()
        identity = Identity(refresher or self._refresher)
        identity.refusal, identity.rule = refusal, rule
        self._minted[self._digest(path)] = identity
        return path

    def is_common(self, path: str) -> bool:
        """Return whether a path is for everybody, so that only the address says who asks."""
        return self._digest(path) in self._common

    def is_minted(self, path: str) -> bool:
        """Return whether a path was made for one container, and is valid."""
        return self._digest(path) in self._minted

    def assign(self, path: str, container: str, addresses: Iterable[str] = ()) -> None:
        """Set the container of a minted path, and its addresses as far as they are known.

        May be called again. No error if the path has ended; it stays so.
        """
        identity = self._minted.get(self._digest(path))
        if identity is None:
            return
        identity.container = container
        self.version += 1
        if known := frozenset(addresses):
            self._set_addresses(identity, known)
        elif identity.first_peer is not None:
            self._request_inspection(identity)

    def revoke(self, path: str) -> None:
        """End a minted path at once; no error if there is none."""
        self._end(self._digest(path), "revoked")

    def end(self, container: str) -> None:
        """End the paths of a container that is gone; no error if there is none."""
        for digest, identity in tuple(self._minted.items()):
            if identity.container == container:
                self._end(digest, "the container ended")

    def suspend(self, container: str) -> None:
        """Let nobody use the path of a stopped container; no error if there is none."""
        for identity in self._of(container):
            self._suspend(identity)

    def resume(self, container: str) -> None:
        """Let the path of a started container be used again, from the address it has now."""
        for identity in self._of(container):
            if identity.suspended:
                identity.suspended = False
                self.version += 1
            if self.is_own is not None and identity.addresses is None:
                self._inspect_now(identity)  # it may ask by its address alone

    def join(self, container: str) -> None:
        """Ask for the addresses of a container that has joined a network."""
        for identity in self._of(container):
            if identity.addresses is not None:
                self._inspect_now(identity)

    def leave(self, container: str) -> None:
        """Let nobody use the path of a container that has left a network, until it is asked for.

        Its address there may be another container's in the next moment, and the event does not name
        that address.
        """
        for identity in self._of(container):
            if identity.addresses is not None or identity.first_peer is not None:
                self._suspend(identity)
                self._inspect_now(identity)

    def containers(self) -> set[str]:
        """Return the ids of all containers that have a path."""
        return {one.container for one in self._minted.values() if one.container is not None}

    def describe(self) -> list[dict[str, object]]:
        """Describe the containers that have a path, without any secret."""
        return [
            {
                "container": one.container,
                "rule": one.rule or self.default.rule,
                "role": None if one.refusal is not None else _role_of(one),
                "addresses": sorted(one.addresses or ()),
                "running": not one.suspended,
            }
            for one in self._minted.values()
            if one.container is not None
        ]

    def by_path(self, path: str, peer: str = "") -> Identity | None:
        """Return the client that a path belongs to; None for an unknown path.

        A container that got the job's path is still that container, where there are rules.
        """
        digest = self._digest(path)
        if digest not in self._common:
            return self._minted.get(digest)
        return self.default if self.is_own is None else self.by_address(peer)

    def by_address(self, peer: str) -> Identity:
        """Return the container that has an address, as the engine reports it; else the default.

        Where there are rules for containers, the default is for the task's own addresses alone.
        """
        known = self._by_address.get(peer)
        if known is not None:
            return known
        return self.default if self.is_own is None or self.is_own(peer) else self._stranger

    def may_ask(self, identity: Identity, peer: str) -> bool:
        """Return whether this peer may use this identity's path.

        Until the engine reports the addresses, that is the first peer that asks.
        """
        if identity is self.default or identity is self._stranger:
            return True
        if identity.suspended:  # the container may have been started in this moment
            self._request_inspection(identity)
            return False
        if identity.addresses is not None:
            allowed = peer in identity.addresses
        elif identity.first_peer is None:
            identity.first_peer = peer
            self._request_inspection(identity)
            return True
        else:
            allowed = peer == identity.first_peer
        if not allowed:  # the container may have joined another network
            self._request_inspection(identity)
        return allowed

    async def verify(self) -> None:
        """Ask the engine for the addresses of the containers that have asked, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._to_inspect:
                self._inspecting = True
                try:
                    await self._inspect(self._to_inspect.pop())
                finally:
                    self._inspecting = False

    def _inspect_now(self, identity: Identity) -> None:
        """Have a container inspected, also if it just was."""
        identity.inspected_at = float("-inf")
        self._request_inspection(identity)

    def _request_inspection(self, identity: Identity) -> None:
        now = self._time()
        ready = self.inspect is not None and identity.container is not None
        if ready and now - identity.inspected_at >= _INSPECT_EVERY:
            identity.inspected_at = now
            self._to_inspect.add(identity)
            self._work.set()

    async def _inspect(self, identity: Identity) -> None:
        container, inspect = identity.container, self.inspect
        if container is None or inspect is None:
            return
        forgotten, starts = identity.forgotten, self._starts.count
        try:
            async with asyncio.timeout(_INSPECT_TIMEOUT):
                found = await inspect(container)
        except Exception as error:  # noqa: BLE001  the engine's client may raise any
            reason = type(error).__name__
            log.warning("relay.verification_failed", container=container, reason=reason)
            return
        if identity.container is None or found is None:  # ended meanwhile, or no own address
            return
        if identity.forgotten != forgotten:  # the answer may be older than the event
            self._inspect_now(identity)
            return
        if found:
            identity.suspended = False
            identity.confirmed = starts
            self._set_addresses(identity, found)
            self.on_change()
            if identity not in self._to_inspect:  # else this answer may be older than a request
                self._confirmed = identity
                try:
                    self.on_known(found)
                finally:
                    self._confirmed = None
        else:
            self._suspend(identity)

    def _of(self, container: str) -> list[Identity]:
        return [one for one in self._minted.values() if one.container == container]

    def _suspend(self, identity: Identity) -> None:
        """Suspend an identity without its addresses: another container may get them."""
        identity.suspended = True
        identity.forgotten += 1
        identity.first_peer = None
        self._forget_addresses(identity)
        identity.addresses = None
        identity.inspected_at = float("-inf")
        self.version += 1

    def _set_addresses(self, identity: Identity, addresses: frozenset[str]) -> None:
        """Set the only addresses that may use this identity's path."""
        if identity.first_peer is not None and identity.first_peer not in addresses:
            log.error(
                "relay.path_misused",
                reason="another peer was the first to ask by the container's path",
                container=identity.container,
                peer=identity.first_peer,
            )
        identity.first_peer = None
        self._forget_addresses(identity)
        identity.addresses = addresses
        self.version += 1
        self._by_address |= dict.fromkeys(addresses, identity)

    def _end(self, digest: bytes, reason: str) -> None:
        if (identity := self._minted.pop(digest, None)) is None:
            return
        log.debug("relay.path_revoked", container=identity.container, reason=reason)
        identity.container = None
        self.version += 1
        self._to_inspect.discard(identity)
        self._forget_addresses(identity)

    def _forget_addresses(self, identity: Identity) -> None:
        for address in identity.addresses or ():
            if self._by_address.get(address) is identity:
                del self._by_address[address]

    def _digest(self, path: str) -> bytes:
        return hashlib.blake2b(path.encode(), key=self._key, digest_size=32).digest()


def _role_of(identity: Identity) -> str | None:
    newest = identity.refresher.newest
    return newest.role_arn if newest is not None else None


def _new_path() -> str:
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
