"""Fetch credentials and refresh them before they expire, so that no client waits for upstream.

Only the refresher's own loop asks upstream: for any number of clients there is one fetch.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, NamedTuple

import stamina
import structlog

from sidecar.aws.container_credentials import (
    Credentials,
    RejectedError,
    UnavailableError,
    UpstreamError,
)
from sidecar.errors import RelayError
from sidecar.net.retry import growing
from sidecar.relay.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.aws.container_credentials import CredentialsSource, Fetch

log = structlog.get_logger()


class Clock(NamedTuple):
    """The wall clock, in seconds since the epoch, and how to sleep."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Pace(NamedTuple):
    """The times at which upstream is asked, in seconds."""

    lead: float = 15 * 60
    """How long before their expiry credentials are refreshed: SDKs do it at that time too."""
    lead_jitter: float = 3 * 60
    try_timeout: float = 3.0
    tries: int = 3
    """In one fetch."""
    try_wait: float = 0.1
    """The first pause between two tries."""
    try_wait_most: float = 1.0
    wait: float = 1.0
    """The first pause between two fetches that fail."""
    wait_most: float = 60.0
    wait_most_empty: float = 5.0
    """The longest pause while there are no credentials: the end of an outage is noticed soon."""


class State(NamedTuple):
    """The state of the credentials, without secrets, for the health endpoint."""

    held: bool
    """Whether there are credentials that have not expired."""
    seconds_left: float | None
    """Until they expire."""
    age: float | None
    """Seconds since the last refresh."""
    failure: str | None
    """Why the last try failed; None if it did not."""


class Refresher:
    """Holds the current credentials and refreshes them."""

    def __init__(
        self,
        endpoint: CredentialsSource,
        clock: Clock,
        pace: Pace,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.endpoint = endpoint
        self.clock = clock
        self.pace = pace
        self.jitter = jitter
        self.counts = Counts()
        self.newest: Credentials | None = None
        """The credentials of the last fetch, also expired ones: to compare versions."""
        self.fetching = False
        """Whether a fetch is in progress."""
        self.on_change: Callable[[], None] | None = None
        """Called after each fetch, successful or not."""
        self._fetched_at = 0.0
        self._failure: UpstreamError | None = None
        self._failures = 0
        self._last_warning = ("", 0.0)  # its reason and its time
        self._fetch_ended = asyncio.Condition()

    def current(self) -> Credentials | None:
        """Return the credentials; None if there are none, or they have expired."""
        newest = self.newest
        return newest if newest is not None and newest.expires_at > self.clock.now() else None

    @property
    def state(self) -> State:
        """The state, without secrets."""
        newest, now = self.newest, self.clock.now()
        return State(
            held=self.current() is not None,
            seconds_left=newest.expires_at - now if newest else None,
            age=now - self._fetched_at if newest else None,
            failure=str(self._failure) if self._failure else None,
        )

    async def wait_until_fetched(self, timeout: float) -> Credentials:
        """Wait until there are credentials, and return them.

        Raises RelayError after `timeout` seconds, or at once if upstream rejects the request.
        """
        advice = self.endpoint.advice
        try:
            async with asyncio.timeout(timeout), self._fetch_ended:
                await self._fetch_ended.wait_for(self._is_decided)
        except TimeoutError:
            reason = self._failure or f"no answer from {self.endpoint.where}"
            raise RelayError(
                f"cannot get credentials to relay within {timeout:g} s: {reason} ({advice})"
            ) from None
        if (credentials := self.current()) is None:
            raise RelayError(f"cannot get credentials to relay: {self._failure} ({advice})")
        return credentials

    def _is_decided(self) -> bool:
        return self.current() is not None or isinstance(self._failure, RejectedError)

    async def run(self) -> None:
        """Fetch now, and again before each expiry, until cancelled."""
        async with self.endpoint.connected() as ask:
            while True:
                await self._sleep(await self._refresh(ask))

    async def _refresh(self, ask: Fetch) -> float:
        """Fetch once; return the seconds until the next fetch."""
        self.fetching = True
        try:
            credentials = await self._fetch(ask)
        except UpstreamError as error:
            wait = self._record_failure(error)
        except Exception:
            # A bug must not end the loop: the credentials are still valid, and the next fetch
            # may succeed.
            log.exception("relay.refresh_failed", reason="a mistake in the agent")
            wait = self._record_failure(UnavailableError("a mistake in the agent"))
        else:
            wait = self._record_success(credentials)
        self.fetching = False
        if self.on_change is not None:
            self.on_change()
        async with self._fetch_ended:
            self._fetch_ended.notify_all()
        return wait

    async def _fetch(self, ask: Fetch) -> Credentials:
        pace = self.pace
        async for attempt in stamina.retry_context(
            on=growing(UnavailableError, first=pace.try_wait, longest=pace.try_wait_most),
            attempts=pace.tries,
            timeout=None,
        ):
            with attempt:
                began = time.monotonic()
                try:
                    return await ask(self.clock.now(), pace.try_timeout)
                except UpstreamError as error:
                    self._failure = error
                    raise
                finally:
                    self.counts.count_try(time.monotonic() - began)
        raise AssertionError  # the last attempt returns or raises

    def _record_success(self, credentials: Credentials) -> float:
        """Take the new credentials; return the seconds until the next fetch."""
        now, pace = self.clock.now(), self.pace
        self.counts.refreshes["success"] += 1
        is_first = self.newest is None
        self.newest, self._fetched_at = credentials, now
        left = credentials.expires_at - now
        lead = min(pace.lead + self.jitter(0, pace.lead_jitter), left / 2)
        log.info(
            "relay.credentials_fetched" if is_first else "relay.refreshed",
            upstream=self.endpoint.where,
            role=credentials.role_arn,
            key_end=credentials.key_end,
            seconds_left=round(left),
            after_failures=self._failures,
        )
        self._failure, self._failures, self._last_warning = None, 0, ("", 0.0)
        # Upstream may answer with the same version again: do not ask more often than in a retry.
        return max(left - lead, pace.wait)

    def _record_failure(self, error: UpstreamError) -> float:
        """Log a failed fetch, at most once a minute; return the seconds until the next fetch."""
        now, current = self.clock.now(), self.current()
        self._failure = error
        self._failures += 1
        self.counts.refreshes["failure"] += 1
        wait = self._next_pause(has_credentials=current is not None)
        last_reason, logged_at = self._last_warning
        if last_reason != str(error) or now - logged_at >= 60:
            self._last_warning = (str(error), now)
            log.warning(
                "relay.refresh_failed",
                upstream=self.endpoint.where,
                reason=str(error),
                failures=self._failures,
                seconds_left=round(current.expires_at - now) if current else None,
                retry_in=round(wait, 1),
            )
        return wait

    def _next_pause(self, *, has_credentials: bool) -> float:
        """Return the pause after a failed fetch: random between half and all of a ceiling.

        The shape is that of `net.retry.growing`, which does not fit: this loop never ends, and its
        longest pause changes when the credentials expire.
        """
        longest = self.pace.wait_most if has_credentials else self.pace.wait_most_empty
        ceiling = min(self.pace.wait * 2 ** min(self._failures - 1, 16), longest)
        return self.jitter(ceiling / 2, ceiling)

    async def _sleep(self, seconds: float) -> None:
        """Sleep by the wall clock, in steps: a suspended machine moves it while it sleeps."""
        until, slept = self.clock.now() + seconds, 0.0
        while slept < seconds and (left := until - self.clock.now()) > 0:
            step = min(left, 60.0)
            await self.clock.sleep(step)
            slept += step
