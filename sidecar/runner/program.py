"""Run `Runner.Listener` for a short command: `configure` or `remove`."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from sidecar.process import Command, run_child
from sidecar.runner.private_call import prepare_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sidecar.runner.folder import RunnerFolder

    WaitAtStop = Callable[[asyncio.Future[int]], Awaitable[None]]
    """Waits for a process that a stop found running, for as long as the stop allows."""

log = structlog.get_logger()

KEPT_LINES = 40
STATUS = re.compile(r"^Response status code does not indicate success: (?P<status>[^.]*)\.?$")
"""The last line after a refusal. What GitHub said about it stands in an earlier line, as JSON."""
LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Subcommand:
    """A call of the runner's program. The token goes into its environment, nowhere else."""

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
        """Return what best explains a failure: GitHub's own words, else the last line.

        Banners and successes are no explanation.
        """
        lines = [line for line in self.lines if not line.startswith(("-", "|", "#", "√"))]
        if not lines:
            return f"exit code {self.code}"
        refused = STATUS.match(lines[-1])
        message = _find_message(lines) if refused else None
        return f"{message} ({refused['status']})" if refused and message else lines[-1]


def _find_message(lines: list[str]) -> str | None:
    """Return the `message` of the last JSON object that was printed, which may take some lines."""
    for start in range(len(lines) - 1, -1, -1):
        if not lines[start].startswith("{"):
            continue
        try:
            answer, _ = json.JSONDecoder().raw_decode("\n".join(lines[start:]))
        except ValueError:
            continue
        message = answer.get("message")
        if isinstance(message, str) and message.strip():
            return " ".join(message.split())[:LONGEST_MESSAGE]
    return None


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

    It has a home of its own, and where possible a folder and a user that no job can look into:
    in its user's home it would believe what jobs left there. When a stop
    cancels the caller, the process may finish for as long as `wait_at_stop` waits: a configure that
    is killed half-way leaves a runner at GitHub whose key nobody has. Raises RunnerError.
    """

    def on_line(stream: str, line: str) -> None:
        result.lines.append(line)
        del result.lines[:-KEPT_LINES]
        log.debug("configure.printed", verb=subcommand.name, stream=stream, line=line)

    async with AsyncExitStack() as stack:
        call = stack.enter_context(prepare_call(folder, env, subcommand.name))
        own = dict(call.env)
        if subcommand.token is not None:
            own["ACTIONS_RUNNER_INPUT_TOKEN"] = subcommand.token
        argv = (call.program, subcommand.name, *subcommand.arguments)
        command = Command(argv, own, call.folder, call.user)
        process = await stack.enter_async_context(run_child(command, on_line))
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
