"""One short run of `Runner.Listener` that is not the listener: configure or remove."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from sidecar.process import Command, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sidecar.runner.folder import RunnerFolder

    Finished = Callable[[asyncio.Future[int]], Awaitable[None]]

log = structlog.get_logger()

KEPT_LINES = 40


@dataclass(frozen=True, slots=True)
class Verb:
    """What to run; the token goes through the environment of this one process and nowhere else."""

    name: str
    arguments: tuple[str, ...]
    token: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Ran:
    """How it ended: exit code (None if it was cut short) and the last lines it printed."""

    code: int | None = None
    lines: list[str] = field(default_factory=list)

    def says(self, *parts: str) -> bool:
        """Whether any line holds any of `parts`."""
        return any(part in line for line in self.lines for part in parts)

    @property
    def reason(self) -> str:
        """The line that says most about a failure."""
        telling = [line for line in self.lines if not line.startswith(("-", "|", "#", "√"))]
        return telling[-1] if telling else f"exit code {self.code}"


async def ran(
    root: RunnerFolder,
    verb: Verb,
    env: Mapping[str, str],
    ran_: Ran,
    *,
    timeout: float,
    finished: Finished | None = None,
) -> Ran:
    """Run one verb to its end, filling `ran_` as it goes; it is killed after `timeout` seconds.

    When the caller is cut short, the process is left to finish for as long as `finished` waits:
    what is killed in the middle of a registration leaves a runner that nobody has the key of.
    """
    env = dict(env)
    if verb.token is not None:
        env["ACTIONS_RUNNER_INPUT_TOKEN"] = verb.token

    def hear(stream: str, line: str) -> None:
        ran_.lines.append(line)
        del ran_.lines[:-KEPT_LINES]
        log.debug("configure.printed", verb=verb.name, stream=stream, line=line)

    argv = (root.listener, verb.name, *verb.arguments)
    async with running(Command(argv, env, root.path, root.user), hear) as process:
        try:
            await asyncio.wait([process.ended], timeout=timeout)
        except asyncio.CancelledError:
            if finished is not None:
                log.info("runner.configure_awaited", verb=verb.name)
                await finished(process.ended)
            raise
        finally:
            ran_.code = process.ended.result() if process.ended.done() else None
    return ran_


def text_arguments(**arguments: str | None) -> tuple[str, ...]:
    """Write `name="x"` as `--name x`; what is None or empty is left out."""
    pairs = (("--" + key, value) for key, value in arguments.items() if value)
    return tuple(word for pair in pairs for word in pair)
