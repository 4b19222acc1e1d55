"""Ask the agent whether a job may run, on Windows: a named pipe, and PowerShell lines that use it.

A pipe has one answer for each client, so one is enough. Its name is new in each life, and the agent
has it first: who makes a pipe of a name decides who may be another server of it, and no process of
a job runs before the answer.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from sidecar.host.admission_request import (
    ADMITTED,
    END_PATIENCE,
    LONG_NAMES,
    LONGEST_LONG,
    LONGEST_REQUEST,
    LONGEST_VALUE,
    NO_ANSWER,
    NO_CREDENTIALS,
    NOTICE,
    NOTICE_TITLE,
    PATIENCE,
    is_whole,
    parse_request,
    write_answer,
)
from sidecar.host.win32 import powershell

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.win32.pipes import Reply
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


class AdmissionChannel(NamedTuple):
    """The pipe's name, without its folder."""

    name: str


@asynccontextmanager
async def open_admission_channel(
    folder: Path,
    user: User | None,
    decide: Callable[[dict[str, str] | None], Awaitable[str]],
    name: str = "",
) -> AsyncIterator[AdmissionChannel]:
    """Open a channel on which one hook asks once; `decide` gets its variables.

    The pipe has a name of its own, whatever `name` is.

    `decide` returns the answer: ADMITTED, NOTICE with a text, or the reason of a refusal. It gets
    None for a request that is too long. Whatever comes after the first request is never read.
    """
    del folder, user, name
    import asyncio  # late: console events are handled before its imports

    from sidecar.host.win32.pipes import serve_pipe

    deciding: asyncio.Task[None] | None = None

    async def answer(received: bytes, reply: Reply) -> None:
        reply.send(write_answer(await decide(parse_request(received))))

    def read(received: bytes, reply: Reply) -> None:
        nonlocal deciding
        if deciding is None and is_whole(received):
            deciding = asyncio.create_task(answer(received, reply))

    try:
        async with serve_pipe(LONGEST_REQUEST, read) as pipe:
            yield AdmissionChannel(pipe)
    finally:
        if deciding is not None:
            deciding.cancel()
            await asyncio.wait([deciding])


def build_admission_script(
    channel: AdmissionChannel, names: Iterable[str], *, needs_answer: bool = True
) -> str:
    """Return PowerShell lines that ask, and go on if the answer is ADMITTED, or begins as NOTICE.

    Else they wait. The agent interrupts the listener of a refused job, which shuts its worker down;
    that runs no further step of the job then, not even one with `if: always()`, and ends this hook.
    A hook that only fails would let those steps run. If nobody ends it, it kills the worker, which
    has started it, and goes on to wait if it cannot. Without `needs_answer`, a job goes on where
    nobody answers, and its log says that it has no credentials.
    """
    why = "else none may run" if needs_answer else "else it has no credentials"
    listed = ", ".join(map(powershell.quote, names))
    return (
        f"# The agent says whether this job may run, and that its role is there; {why}.\n"
        "$answer = ''\n"
        "try {\n"
        f"  $request = -join (@({listed}) | ForEach-Object {{\n"
        "    $value = [string][Environment]::GetEnvironmentVariable($_)\n"
        f"    $most = if ($_.StartsWith('{LONG_NAMES}')) {{ {LONGEST_LONG} }} "
        f"else {{ {LONGEST_VALUE} }}\n"
        "    $_ + '=' + $value.Substring(0, [Math]::Min($value.Length, $most))"
        " + [char]0\n"
        "  }) + [char]0\n"
        "  $pipe = New-Object System.IO.Pipes.NamedPipeClientStream("
        f"'.', {powershell.quote(channel.name)}, 'InOut', 'Asynchronous')\n"
        f"  $pipe.Connect({PATIENCE * 1000})\n"
        "  $bytes = [Text.Encoding]::UTF8.GetBytes($request)\n"
        "  $pipe.Write($bytes, 0, $bytes.Length)\n"
        "  $line = (New-Object System.IO.StreamReader($pipe)).ReadLineAsync()\n"
        f"  if ($line.Wait({PATIENCE * 1000})) {{ $answer = [string]$line.Result }}\n"
        "} catch { }\n"
        + ("" if needs_answer else _say_no_answer())
        + f"if ($answer.StartsWith({powershell.quote(NOTICE)})) {{\n"
        f"  Write-Host ({powershell.quote(_WARNING)} + $answer.Substring({len(NOTICE)}))\n"
        f"  $answer = {powershell.quote(ADMITTED)}\n"
        "}\n"
        f"if ($answer -cne {powershell.quote(ADMITTED)}) {{\n"
        f"  if (-not $answer) {{ $answer = "
        f"{powershell.quote(NO_ANSWER)} }}\n"
        "  Write-Host ('::error title=Job not admitted::' + $answer)\n"
        "  while ($true) {\n"
        f"    Start-Sleep -Seconds {END_PATIENCE}\n"
        "    try {\n"
        '      $self = Get-CimInstance Win32_Process -Filter "ProcessId=$PID"\n'
        "      Stop-Process -Id $self.ParentProcessId -Force\n"
        "    } catch { }\n"
        "  }\n"
        "}\n"
    )


def build_summary_script(channel: AdmissionChannel, path: Path) -> str:
    """Return nothing: on Windows no hook writes the summary."""
    del channel, path
    return ""


_WARNING = f"::warning title={NOTICE_TITLE}::"


def _say_no_answer() -> str:
    """Return the line that makes a warning of a missing answer."""
    return f"if (-not $answer) {{ $answer = {powershell.quote(NOTICE + NO_CREDENTIALS)} }}\n"
