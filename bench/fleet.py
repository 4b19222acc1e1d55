"""A fleet that starts in the same second, against the limits of SSM and GitHub.

`python -m bench.fleet` plays it on a virtual clock, with the agent's own waiting and retrying;
`python -m bench.fleet FILE.svg` draws it too.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from bench import limits
from bench.figure import Figure
from bench.virtual import played
from sidecar import github, tokens
from sidecar.github.api import Api
from sidecar.runner.configure import Registration, RegistrationRequest, Trouble
from sidecar.shutdown import cleanup
from sidecar.shutdown.stop import Stop
from sidecar.tokens.ssm import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from bench.stage import Stage
    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.program import Finished

KEY = "fleet_start_vs_limit"
SIZE, SEED = 1000, 1
TOKEN_TIMEOUT, STOP_TIMEOUT = 300.0, 30.0
"""Seconds: the defaults of SIDECAR_TOKEN_TIMEOUT and SIDECAR_STOP_TIMEOUT."""
MINT_TIMEOUT = 900.0
"""Seconds: what SIDECAR_TOKEN_TIMEOUT has to be where a fleet mints with one access token."""
JOB = 600.0
"""Seconds that a job takes."""
LATE, OTHERS = 5.0, 2.0
"""Seconds after which a launcher begins to write; reads a second that others of the account do."""
URL = "https://github.com/octo-org"


@dataclass
class Fleet:
    """What became of everybody; times in seconds from the second that all were started in."""

    size: int
    counts: limits.Counts = field(default_factory=limits.Counts)
    started: list[float] = field(default_factory=list)
    """When each had its right to register, and GitHub had its runner."""
    deleted: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)

    @property
    def start_vs_limit(self) -> float:
        """The last start, over the time in which SSM lets so many be read."""
        return max(self.started) / (self.size / limits.READS)


class Parameters(Store):
    """The agent's store, on a client that has nothing but limits."""

    def __init__(self, client: limits.Parameters) -> None:
        super().__init__(None)
        self._client = client


class Runner(Registration):
    """The agent's registration; its program does nothing but ask GitHub."""

    def __init__(self, service: limits.GitHub, number: int) -> None:
        wish = RegistrationRequest(URL, limits.TOKEN, f"runner-{number}", (), False, None, "_work")
        super().__init__(cast("RunnerFolder", self), wish, {})
        self._service = service

    def keep_copies(self) -> None:
        """Keep nothing: this runner has no folder."""

    async def _configure_once(self, finished: Finished | None = None) -> None:
        del finished
        try:
            await self._service.register()
        except limits.Limited as error:
            raise Trouble("GitHub answers 429") from error


async def from_ssm(size: int, late: float | None = None, others: float = 0.0) -> Fleet:
    """Start `size` agents whose tokens are there, or are written from `late` seconds on.

    `others` is how often in a second somebody else of the account reads a parameter.
    """
    fleet = Fleet(size)
    ssm, service = limits.Parameters(fleet.counts), limits.GitHub(fleet.counts)
    names = [f"/fleet/{number}" for number in range(size)]
    if late is None:
        ssm.held = dict.fromkeys(names, limits.EPOCH)

    async def life(number: int) -> None:
        stop, cleanup_stack = Stop(STOP_TIMEOUT), cleanup.CleanupStack()
        async with Parameters(ssm) as store, cleanup.run_cleanup(cleanup_stack, stop):
            loan = tokens.read_later(store, names[number], cleanup_stack)
            await loan.arrived(TOKEN_TIMEOUT)
            await Runner(service, number).register()
            fleet.started.append(limits.now())
            loan.served()
            await asyncio.sleep(JOB)
        fleet.deleted = ssm.deleted
        fleet.not_done += cleanup_stack.not_done.values()

    async with asyncio.TaskGroup() as group:
        extras = []
        if late is not None:
            extras.append(group.create_task(launcher(ssm, names, late)))
        if others:
            extras.append(group.create_task(neighbour(ssm, fleet.counts, others)))
        await crowd(fleet, life)
        for extra in extras:
            extra.cancel()
    return fleet


async def from_pat(size: int) -> Fleet:
    """Start `size` agents that mint their tokens with one personal access token."""
    fleet = Fleet(size)
    service = limits.GitHub(fleet.counts)
    scope = github.Scope.of(URL)

    async def life(number: int) -> None:
        api = Api(cast("Any", service), scope, github.Pat("pat"), limits.now)

        async def runners() -> github.Runners:
            return github.Runners(api, scope)

        await tokens.MintedToken(runners, jit=False).arrived(MINT_TIMEOUT)
        await Runner(service, number).register()
        fleet.started.append(limits.now())

    await crowd(fleet, life)
    return fleet


async def crowd(fleet: Fleet, life: Callable[[int], Awaitable[None]]) -> None:
    """Live all lives, which begin within one second."""

    async def one(number: int) -> None:
        await asyncio.sleep(random.random())  # noqa: S311  chance, not secrecy
        try:
            await life(number)
        except Exception as error:  # noqa: BLE001  what makes an agent fail is what is looked for
            fleet.failed.append(str(error))

    await asyncio.gather(*map(one, range(fleet.size)))


async def launcher(ssm: limits.Parameters, names: list[str], late: float) -> None:
    """Write all tokens one after the other, as soon as SSM lets it."""
    await asyncio.sleep(late)
    for name in names:
        while True:
            try:
                await ssm.put_parameter(Name=name)
            except ClientError:
                await asyncio.sleep(random.uniform(0.1, 0.2))  # noqa: S311  chance, not secrecy
            else:
                break


async def neighbour(ssm: limits.Parameters, counts: limits.Counts, rate: float) -> None:
    """Read a parameter now and then that has nothing to do with runners."""
    while True:
        await asyncio.sleep(1 / rate)
        counts.note("neighbour", granted=ssm.grants("GetParameter"))


def measure(_stage: Stage) -> Iterator[Figure]:
    """Judge the fleet; nothing real is started for it."""
    parts = read()
    value = parts.pop(KEY)
    last, least = parts["fleet_last_start_s"], SIZE / limits.READS
    yield Figure(KEY, value, f"{last:.1f} s", f"{least:.0f} s (SSM's limit)", parts)


def read(size: int = SIZE, seed: int = SEED) -> dict[str, float]:
    """Play the fleet; the key `fleet_start_vs_limit` and what it is made of.

    Raises RuntimeError if any agent failed or left its token behind.
    """
    return figures(everybody(played(from_ssm(size), seed)))


def figures(fleet: Fleet) -> dict[str, float]:
    """Say in numbers how it went."""
    return {
        KEY: fleet.start_vs_limit,
        "fleet_last_start_s": max(fleet.started),
        "fleet_reads_per_start": fleet.counts.calls["GetParameter"] / fleet.size,
        "fleet_deletes_per_start": fleet.counts.calls["DeleteParameter"] / fleet.size,
        "fleet_last_delete_s": max(fleet.deleted, default=0.0),
    }


def everybody(fleet: Fleet) -> Fleet:
    """Give the fleet back, or raise RuntimeError if anybody failed."""
    if wrong := fleet.failed + fleet.not_done:
        raise RuntimeError(f"{len(wrong)} of {fleet.size} agents failed, one because: {wrong[0]}")
    return fleet


def main(arguments: list[str]) -> None:
    """Play all the ways to start, print what came of each, and draw it if a file is named."""
    plays = {
        "ssm": partial(from_ssm, SIZE),
        "ssm, others read too": partial(from_ssm, SIZE, others=OTHERS),
        "ssm, written late": partial(from_ssm, SIZE, late=LATE),
        "pat": partial(from_pat, SIZE),
    }
    fleets = {name: everybody(played(play(), SEED)) for name, play in plays.items()}
    for name, fleet in fleets.items():
        print(name)
        for key, value in figures(fleet).items():
            print(f"  {key:24} {value:8.2f}")
        for call, times in sorted(fleet.counts.calls.items()):
            print(f"  {call:24} {times:8} calls, {fleet.tally.refused[call]} refused")
    if arguments:
        from bench import plot

        Path(arguments[0]).write_text(plot.draw(fleets["ssm"]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
