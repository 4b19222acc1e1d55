"""Job hooks on Windows: a named pipe, and PowerShell scripts that write one line to it."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.host.win32 import powershell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.win32.pipes import Reply
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

HOOK_SUFFIX = ".ps1"

_LONGEST_LINE = 4096


@asynccontextmanager
async def open_hook_channel(
    folder: Path, user: User | None, on_event: Callable[[str], None]
) -> AsyncIterator[Path]:
    """Open a named pipe to which a hook writes a line, which `on_event` gets; yield its path."""
    del folder, user
    from sidecar.host.win32.pipes import FOLDER, serve_pipe  # late: it imports asyncio

    def read(received: bytes, _reply: Reply) -> None:
        if received.endswith(b"\n"):
            *_, line = received.decode(errors="replace").splitlines()
            on_event(line.strip())

    async with serve_pipe(_LONGEST_LINE, read) as name:
        yield Path(FOLDER + name)


def build_hook_script(
    event: str,
    channel: Path,
    user_hook: str | None,
    runner_dir: Path,
    variables: Mapping[str, str] | None = None,
    admission: str = "",
) -> str:
    """Return a hook script that sends `event` to the agent, then runs the user's own hook.

    Whatever happens to the channel, the job goes on within a second, unless the lines of
    `admission` end it (`build_admission_script`). `variables` go to the job's containers by
    GITHUB_ENV, unless the job has credentials of its own, or another value.
    """
    pipe = powershell.quote(str(channel).rpartition("\\")[2])
    script = (
        f"# Tells the agent that a job has {event}; never delays or fails the job.\n"
        "try {\n"
        f"  $pipe = New-Object System.IO.Pipes.NamedPipeClientStream('.', {pipe}, 'Out')\n"
        "  $pipe.Connect(1000)\n"
        f'  $line = [Text.Encoding]::UTF8.GetBytes("{event}`n")\n'
        "  $pipe.Write($line, 0, $line.Length)\n"
        "  $pipe.Dispose()\n"
        "} catch { }\n"
    )
    script += admission
    script += "".join(_export(name, value) for name, value in (variables or {}).items())
    return powershell.encode_script(
        script + (_run_user_hook(user_hook, runner_dir) if user_hook else "")
    )


def _export(name: str, value: str) -> str:
    """Return a line that appends a variable to GITHUB_ENV, in UTF-8 without a mark before it."""
    line = powershell.quote(f"{name}={value}")
    return (
        f"if ($env:GITHUB_ENV -and -not $env:AWS_ACCESS_KEY_ID -and "
        f"(-not $env:{name} -or $env:{name} -eq {powershell.quote(value)})) "
        f"{{ try {{ [IO.File]::AppendAllText($env:GITHUB_ENV, {line} + "
        '"`n") } catch { } }\n'
    )


def _run_user_hook(hook: str, runner_dir: Path) -> str:
    """Return lines that run the user's hook by its suffix, as the runner itself would."""
    quoted = powershell.quote(hook)
    match Path(hook).suffix.lower():
        case ".js":
            nodes = powershell.quote(
                str(runner_dir / "externals" / "node[0-9][0-9]" / "bin" / "node.exe")
            )
            return (
                f"$node = (Resolve-Path {nodes} | Select-Object -Last 1).Path\n"
                f"& $node {quoted}\nexit $LASTEXITCODE\n"
            )
        case ".sh":
            return f"& bash -e {quoted}\nexit $LASTEXITCODE\n"
        case _:  # its `exit` ends only itself, but sets $?, by which PowerShell's code is chosen
            return f". {quoted}\nif (-not $?) {{ exit 1 }}\n"
