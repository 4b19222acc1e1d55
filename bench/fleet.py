"""Start a fleet in one second, against the rate limits of SSM and GitHub.

`python -m bench.fleet` runs it on virtual time, with the agent's own code that waits and retries;
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
from bench.virtual import run_virtually
from sidecar import github, tokens
from sidecar.github.api import Api
from sidecar.runner.configure import Registration, TransientRegistrationError
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.shutdown import cleanup
from sidecar.shutdown.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from bench.stage import Stage
    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.program import WaitAtStop

KEY = "fleet_start_vs_limit"
SIZE, SEED = 1000, 1
TOKEN_TIMEOUT, STOP_TIMEOUT = 300.0, 30.0
"""Seconds: the defaults of SIDECAR_TOKEN_TIMEOUT and SIDECAR_STOP_TIMEOUT."""
MINT_TIMEOUT = 900.0
"""Seconds: the SIDECAR_TOKEN_TIMEOUT that a fleet with one access token needs."""
JOB = 600.0
"""Seconds that a job takes."""
LATE, OTHERS = 5.0, 2.0
"""Seconds after which a launcher begins to write; reads per second of others in the account."""
URL = "https://github.com/octo-org"


@dataclass
class Fleet:
    """The result for all agents; times in seconds from the second that all were started in."""

    size: int
    counts: limits.Counts = field(default_factory=limits.Counts)
    started: list[float] = field(default_factory=list)
    """Times at which the agents had their token and had registered their runner."""
    deleted: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    not_done: list[str] = field(default_factory=list)

    @property
    def start_vs_limit(self) -> float:
        """The last start, over the time in which SSM lets so many parameters be read."""
        return max(self.started) / (self.size / limits.READS)


class ParameterStore(tokens.ParameterStore):
    """The agent's client of SSM, connected to a stand-in that has nothing but limits."""

    def __init__(self, client: limits.Parameters) -> None:
        super().__init__(None)
        self._limited = client

    async def connect(self) -> limits.Parameters:
        """Return the stand-in."""
        return self._limited


class Runner(Registration):
    """The agent's registration; its program does nothing but call GitHub."""

    def __init__(self, service: limits.GitHub, number: int) -> None:
        name = f"runner-{number}"
        request = RegistrationRequest(URL, limits.TOKEN, name, (), False, None, "_work")
        super().__init__(cast("RunnerFolder", self), request, {})
        self._service = service

    def save_copies(self) -> None:
        """Keep nothing: this runner has no folder."""

    async def _configure_once(self, wait_at_stop: WaitAtStop | None = None) -> None:
        del wait_at_stop
        try:
            await self._service.register()
        except limits.RateLimited as error:
            raise TransientRegistrationError("GitHub answers 429") from error


async def start_from_ssm(size: int, late: float | None = None, others: float = 0.0) -> Fleet:
    """Start `size` agents whose tokens exist, or are written from `late` seconds on.

    `others` is how often per second another client of the account reads a parameter.
    """
    fleet = Fleet(size)
    ssm, service = limits.Parameters(fleet.counts), limits.GitHub(fleet.counts)
    names = [f"/fleet/{number}" for number in range(size)]
    if late is None:
        ssm.modified = dict.fromkeys(names, limits.EPOCH)

    async def life(number: int) -> None:
        stop, cleanup_stack = Stop(STOP_TIMEOUT), cleanup.CleanupStack()
        async with ParameterStore(ssm) as store, cleanup.run_cleanup(cleanup_stack, stop):
            parameter = tokens.claim_parameter(store, names[number], cleanup_stack)
            await parameter.wait(TOKEN_TIMEOUT)
            await Runner(service, number).register()
            fleet.started.append(limits.now())
            parameter.delete_soon()
            await asyncio.sleep(JOB)
        fleet.deleted = ssm.deleted
        fleet.not_done += cleanup_stack.not_done.values()

    async with asyncio.TaskGroup() as group:
        extras = []
        if late is not None:
            extras.append(group.create_task(write_tokens(ssm, names, late)))
        if others:
            extras.append(group.create_task(read_others(ssm, fleet.counts, others)))
        await run_all(fleet, life)
        for extra in extras:
            extra.cancel()
    return fleet


async def start_from_pat(size: int) -> Fleet:
    """Start `size` agents that mint their tokens with one personal access token."""
    fleet = Fleet(size)
    service = limits.GitHub(fleet.counts)
    scope = github.Scope.from_url(URL)

    async def life(number: int) -> None:
        api = Api(cast("Any", service), scope, github.Pat("pat"), limits.now)

        async def runners() -> github.Runners:
            return github.Runners(api, scope)

        await tokens.MintedToken(runners, jit=False).wait(MINT_TIMEOUT)
        await Runner(service, number).register()
        fleet.started.append(limits.now())

    await run_all(fleet, life)
    return fleet


async def run_all(fleet: Fleet, life: Callable[[int], Awaitable[None]]) -> None:
    """Run the life of each agent; all begin within one second."""

    async def one(number: int) -> None:
        await asyncio.sleep(random.random())  # noqa: S311  chance, not secrecy
        try:
            await life(number)
        except Exception as error:  # noqa: BLE001  any failure counts
            fleet.failed.append(str(error))

    await asyncio.gather(*map(one, range(fleet.size)))


async def write_tokens(ssm: limits.Parameters, names: list[str], late: float) -> None:
    """Write all tokens as a launcher does, one after the other, as fast as SSM permits."""
    await asyncio.sleep(late)
    for name in names:
        while True:
            try:
                await ssm.put_parameter(Name=name)
            except ClientError:
                await asyncio.sleep(random.uniform(0.1, 0.2))  # noqa: S311  chance, not secrecy
            else:
                break


async def read_others(ssm: limits.Parameters, counts: limits.Counts, rate: float) -> None:
    """Read other parameters of the account, `rate` times per second."""
    while True:
        await asyncio.sleep(1 / rate)
        counts.note("others", granted=ssm.grant("GetParameter"))


def measure(_stage: Stage) -> Iterator[Figure]:
    """Measure the fleet; nothing real is started for it."""
    parts = run_fleet()
    value = parts.pop(KEY)
    last, least = parts["fleet_last_start_s"], SIZE / limits.READS
    yield Figure(KEY, value, f"{last:.1f} s", f"{least:.0f} s (SSM's limit)", parts)


def run_fleet(size: int = SIZE, seed: int = SEED) -> dict[str, float]:
    """Run the fleet; return `fleet_start_vs_limit` and the figures that explain it.

    Raises RuntimeError if any agent failed or did not delete its token.
    """
    return figures(check(run_virtually(start_from_ssm(size), seed)))


def figures(fleet: Fleet) -> dict[str, float]:
    """Return the figures of one run."""
    return {
        KEY: fleet.start_vs_limit,
        "fleet_last_start_s": max(fleet.started),
        "fleet_reads_per_start": fleet.counts.calls["GetParameter"] / fleet.size,
        "fleet_deletes_per_start": fleet.counts.calls["DeleteParameter"] / fleet.size,
        "fleet_last_delete_s": max(fleet.deleted, default=0.0),
    }


def check(fleet: Fleet) -> Fleet:
    """Return the fleet. Raises RuntimeError if any agent failed."""
    if wrong := fleet.failed + fleet.not_done:
        raise RuntimeError(f"{len(wrong)} of {fleet.size} agents failed, one because: {wrong[0]}")
    return fleet


def main(arguments: list[str]) -> None:
    """Run each way to start, print its figures, and draw the first if a file is named."""
    runs = {
        "ssm": partial(start_from_ssm, SIZE),
        "ssm, others read too": partial(start_from_ssm, SIZE, others=OTHERS),
        "ssm, written late": partial(start_from_ssm, SIZE, late=LATE),
        "pat": partial(start_from_pat, SIZE),
    }
    fleets = {name: check(run_virtually(run(), SEED)) for name, run in runs.items()}
    for name, fleet in fleets.items():
        print(name)
        for key, value in figures(fleet).items():
            print(f"  {key:24} {value:8.2f}")
        for call, times in sorted(fleet.counts.calls.items()):
            print(f"  {call:24} {times:8} calls, {fleet.counts.refused[call]} refused")
    if arguments:
        from bench import plot

        Path(arguments[0]).write_text(plot.draw(fleets["ssm"]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
