"""Holds the current credentials and keeps them fresh, so that nobody ever waits for upstream.

Only the keeper's own loop asks upstream; however many ask the keeper, there is one flight.
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
from sidecar.relay.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sidecar.aws.container_credentials import Ask, Source

log = structlog.get_logger()


class Clock(NamedTuple):
    """The wall clock, in seconds since the epoch, and a way to wait by it."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Pace(NamedTuple):
    """How eagerly upstream is asked; seconds throughout."""

    lead: float = 15 * 60
    """SDKs refresh what has less than this left; so the relay must have newer ones by then."""
    lead_jitter: float = 3 * 60
    try_timeout: float = 3.0
    tries: int = 3
    try_wait: float = 0.1
    try_wait_most: float = 1.0
    wait: float = 1.0
    wait_most: float = 60.0
    wait_most_empty: float = 5.0
    """While nothing is held, an upstream that is back should be noticed soon."""


class State(NamedTuple):
    """What health tells of the relay."""

    held: bool
    seconds_left: float | None
    """Until what is held expires."""
    age: float | None
    """Seconds since the last refresh."""
    failure: str | None
    """Why the last try failed, if it did."""


class Refresher:
    """The current credentials."""

    def __init__(
        self,
        endpoint: Source,
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
        """What was fetched last, expired or not: for comparing versions."""
        self.flying = False
        """Whether upstream is being asked."""
        self.on_news: Callable[[], None] | None = None
        """What to call when it has answered, or has not."""
        self._fetched_at = 0.0
        self._failure: UpstreamError | None = None
        self._failures = 0
        self._told = ("", 0.0)  # the last warning, and when
        self._news = asyncio.Condition()

    def current(self) -> Credentials | None:
        """Return what is held, unless it has expired."""
        held = self.newest
        return held if held is not None and held.expires_at > self.clock.now() else None

    @property
    def state(self) -> State:
        """What can be told without a secret."""
        held, now = self.newest, self.clock.now()
        return State(
            held=self.current() is not None,
            seconds_left=held.expires_at - now if held else None,
            age=now - self._fetched_at if held else None,
            failure=str(self._failure) if self._failure else None,
        )

    async def warm(self, timeout: float) -> Credentials:
        """Return once credentials are held. Raises RelayError if there will be none in time."""
        advice = self.endpoint.advice
        try:
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(self._decided)
        except TimeoutError:
            why = self._failure or f"no answer from {self.endpoint.where}"
            raise RelayError(
                f"cannot get credentials to relay within {timeout:g} s: {why} ({advice})"
            ) from None
        if (credentials := self.current()) is None:
            raise RelayError(f"cannot get credentials to relay: {self._failure} ({advice})")
        return credentials

    def _decided(self) -> bool:
        return self.current() is not None or isinstance(self._failure, RejectedError)

    async def keep(self) -> None:
        """Fetch now, and again before each expiry, until cancelled."""
        async with self.endpoint.asking() as ask:
            while True:
                await self._pause(await self._round(ask))

    async def _round(self, ask: Ask) -> float:
        """Make one flight; return how long to wait for the next."""
        self.flying = True
        try:
            credentials = await self._flight(ask)
        except UpstreamError as error:
            wait = self._failed(error)
        except Exception:
            # Whatever it is, what is held is still good, and the next flight may be.
            log.exception("relay.refresh_failed", why="a mistake in the agent")
            wait = self._failed(UnavailableError("a mistake in the agent"))
        else:
            wait = self._succeeded(credentials)
        self.flying = False
        if self.on_news is not None:
            self.on_news()
        async with self._news:
            self._news.notify_all()
        return wait

    async def _flight(self, ask: Ask) -> Credentials:
        pace = self.pace
        async for attempt in stamina.retry_context(
            on=UnavailableError,
            attempts=pace.tries,
            timeout=None,
            wait_initial=pace.try_wait,
            wait_max=pace.try_wait_most,
            wait_jitter=pace.try_wait,
        ):
            with attempt:
                begun = time.monotonic()
                try:
                    return await ask(self.clock.now(), pace.try_timeout)
                except UpstreamError as error:
                    self._failure = error
                    raise
                finally:
                    self.counts.asked(time.monotonic() - begun)
        raise AssertionError  # the last attempt returns or raises

    def _succeeded(self, credentials: Credentials) -> float:
        now, pace = self.clock.now(), self.pace
        self.counts.flights["success"] += 1
        first = self.newest is None
        self.newest, self._fetched_at = credentials, now
        left = credentials.expires_at - now
        lead = min(pace.lead + self.jitter(0, pace.lead_jitter), left / 2)
        log.info(
            "relay.credentials_fetched" if first else "relay.refreshed",
            upstream=self.endpoint.where,
            role=credentials.role_arn,
            key_end=credentials.key_end,
            seconds_left=round(left),
            after_failures=self._failures,
        )
        self._failure, self._failures, self._told = None, 0, ("", 0.0)
        # Upstream may answer the same version again and again: never more often than a retry.
        return max(left - lead, pace.wait)

    def _failed(self, error: UpstreamError) -> float:
        now, held = self.clock.now(), self.current()
        self._failure = error
        self._failures += 1
        self.counts.flights["failure"] += 1
        most = self.pace.wait_most if held else self.pace.wait_most_empty
        wait = min(self.pace.wait * 2 ** min(self._failures - 1, 16), most)
        wait = self.jitter(wait / 2, wait)
        why, when = self._told
        if why != str(error) or now - when >= 60:  # a long outage is one line a minute
            self._told = (str(error), now)
            log.warning(
                "relay.refresh_failed",
                upstream=self.endpoint.where,
                why=str(error),
                failures=self._failures,
                seconds_left=round(held.expires_at - now) if held else None,
                retry_in=round(wait, 1),
            )
        return wait

    async def _pause(self, seconds: float) -> None:
        """Wait by the wall clock, which a suspended or adjusted machine moves, in short steps."""
        until, slept = self.clock.now() + seconds, 0.0
        while slept < seconds and (left := until - self.clock.now()) > 0:
            step = min(left, 60.0)
            await self.clock.sleep(step)
            slept += step
