"""Let a launch wait for its turns before its task is started: one of RunTask, one of GitHub.

A task is started as fast as it can get its token, and not faster: with a just-in-time pool each
launch needs a call of GitHub's that costs much of its limit. Tasks that are started faster wait
for their tokens, and end without them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from launcher.pools.pool import JUST_IN_TIME
from launcher.record.paces import Pace
from launcher.work.resources import PutOff
from sidecar.github.api import DEFAULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.pools.pool import Pool
    from launcher.record.paces import Turn
    from launcher.work.held import Held
    from launcher.work.resources import Resources
    from sidecar import github

EARLY = 1.0
"""Seconds before its turn at which a message may come: SQS delays by whole seconds."""
EXPIRED = 60.0
"""Seconds after which a turn is lost: after an outage, all whose turn was in it come at once."""
LEFT = 0.01
"""The share of GitHub's calls of an hour that is left to other calls than configurations."""
REFUSED = 4
"""Turns for which the line stands still after a call that was refused all the same."""


class Turns:
    """Takes turns for launches. The caller holds the launch's lease. Every call raises AwsError."""

    def __init__(self, around: Resources) -> None:
        self._around = around
        self._paces = around.records.paces

    async def wait(self, held: Held, pool: Pool, connection: github.Connection) -> PutOff | None:
        """Take the turns that are open, one after the other. None: all of them have come."""
        lines = await self._list(pool, connection)
        names = [line.name for line in lines]
        first = names.index(held.launch.pace) if held.launch.pace in names else 0
        for line in lines[first:]:
            turn = await self._take(held, line)
            seconds = turn.due - self._around.now()
            if seconds > EARLY:
                return PutOff(seconds, f"{line.name} takes {line.rate:g} calls a second")
        return None

    def end(self, held: Held) -> None:
        """Forget a turn that was used."""
        held.note(replace(held.launch, pace=None, turn=0, due=0.0))

    async def count_refused(self, pool: Pool) -> None:
        """Let all wait a little longer: RunTask or RunInstances has refused a call."""
        line = self._starts(pool)
        await self._paces.slow_down(line, REFUSED / line.rate)

    async def stop_configurations(self, url: str, error: github.RateLimited) -> None:
        """Let all who need GitHub's call wait: it wants no requests for some time."""
        seconds = DEFAULT_LIMIT if error.seconds is None else error.seconds
        await self._paces.stop(self._configurations(url), seconds)

    async def _take(self, held: Held, line: Pace) -> Turn:
        launch, now = held.launch, self._around.now()
        turn = await self._paces.look(line, launch.turn) if launch.pace == line.name else None
        if turn is None or now - turn.due > EXPIRED:
            turn = await self._paces.take(line)
        held.note(replace(launch, pace=line.name, turn=turn.place, due=turn.due))
        return turn

    async def _list(self, pool: Pool, connection: github.Connection) -> Sequence[Pace]:
        url = connection.url or ""
        if pool.token != JUST_IN_TIME or not _is_limited(url):
            return (self._starts(pool),)
        line, api = self._configurations(url), await connection.api()
        until_reset = api.resets_at - self._around.now()
        if api.left < LEFT and until_reset > 0:
            await self._paces.stop(line, until_reset)
        return line, self._starts(pool)

    def _starts(self, pool: Pool) -> Pace:
        rates = self._around.rates
        if pool.machine is not None:
            return Pace("RunInstances", rates.machines, rates.machine_burst)
        return Pace("RunTask", rates.starts, rates.start_burst)

    def _configurations(self, url: str) -> Pace:
        rates = self._around.rates
        owner = f"{urlsplit(url).hostname}/{urlsplit(url).path.strip('/').partition('/')[0]}"
        return Pace(f"GitHub {owner}", rates.configurations, rates.configuration_burst)


def _is_limited(url: str) -> bool:
    """Whether GitHub limits the rate there: a server of one's own does not, as it is delivered."""
    host = urlsplit(url).hostname or ""
    return host == "github.com" or host.endswith(".ghe.com")
