"""Run `Runner.Listener` for a short command: `configure` or `remove`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from sidecar.process import Command, run_child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sidecar.runner.folder import RunnerFolder

    WaitAtStop = Callable[[asyncio.Future[int]], Awaitable[None]]
    """Waits for a process that a stop found running, for as long as the stop allows."""

log = structlog.get_logger()

KEPT_LINES = 40


@dataclass(frozen=True, slots=True)
class Subcommand:
    """What to run. The token goes into the environment of this one process, nowhere else."""

    name: str
    arguments: tuple[str, ...]
    token: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class ProgramResult:
    """The exit code (None if the run was cut short) and the last lines that were printed."""

    code: int | None = None
    lines: list[str] = field(default_factory=list)

    def contains(self, *parts: str) -> bool:
        """Whether any line contains any of `parts`."""
        return any(part in line for line in self.lines for part in parts)

    @property
    def reason(self) -> str:
        """The line that best explains a failure: the last that is no banner and no success."""
        lines = [line for line in self.lines if not line.startswith(("-", "|", "#", "√"))]
        return lines[-1] if lines else f"exit code {self.code}"


async def run_program(
    folder: RunnerFolder,
    subcommand: Subcommand,
    env: Mapping[str, str],
    result: ProgramResult,
    *,
    timeout: float,
    wait_at_stop: WaitAtStop | None = None,
) -> ProgramResult:
    """Run one subcommand and fill `result` meanwhile; kill it after `timeout` seconds.

    When a stop cancels the caller, the process may finish for as long as `wait_at_stop` waits: a
    configure that is killed half-way leaves a runner at GitHub whose key nobody has.
    """
    env = dict(env)
    if subcommand.token is not None:
        env["ACTIONS_RUNNER_INPUT_TOKEN"] = subcommand.token

    def on_line(stream: str, line: str) -> None:
        result.lines.append(line)
        del result.lines[:-KEPT_LINES]
        log.debug("configure.printed", verb=subcommand.name, stream=stream, line=line)

    argv = (folder.listener, subcommand.name, *subcommand.arguments)
    async with run_child(Command(argv, env, folder.path, folder.user), on_line) as process:
        try:
            await asyncio.wait([process.ended], timeout=timeout)
        except asyncio.CancelledError:
            if wait_at_stop is not None:
                log.info("runner.configure_awaited", verb=subcommand.name)
                await wait_at_stop(process.ended)
            raise
        finally:
            result.code = process.ended.result() if process.ended.done() else None
    return result


def build_arguments(**arguments: str | None) -> tuple[str, ...]:
    """Return `--name x` for every `name="x"`; what is None or empty is left out."""
    pairs = (("--" + key, value) for key, value in arguments.items() if value)
    return tuple(word for pair in pairs for word in pair)
