"""Job hooks on Windows: a named pipe, and PowerShell scripts that write one line to it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

HOOK_SUFFIX = ".ps1"

_PIPE_READ = 4096


@asynccontextmanager
async def open_hook_channel(
    folder: Path, user: User | None, on_event: Callable[[str], None]
) -> AsyncIterator[Path]:
    """Open a named pipe to which a hook writes a line, which `on_event` gets; yield its path."""
    del user
    path = rf"\\.\pipe\runner-sidecar-{abs(hash(folder))}"

    async def read(reader: asyncio.StreamReader) -> None:
        for line in (await reader.read(_PIPE_READ)).decode(errors="replace").splitlines():
            on_event(line.strip())

    readers: set[asyncio.Task[None]] = set()

    def connect() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader()
        readers.add(asyncio.create_task(read(reader)))
        return asyncio.StreamReaderProtocol(reader)

    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.ProactorEventLoop)  # noqa: S101
    servers = await loop.start_serving_pipe(connect, path)
    try:
        yield Path(path)
    finally:
        for server in servers:
            server.close()
        for task in readers:
            task.cancel()


def build_hook_script(
    event: str,
    channel: Path,
    user_hook: str | None,
    runner_dir: Path,
    variables: Mapping[str, str] | None = None,
    admission: str = "",
) -> str:
    """Return a hook script that sends `event` to the agent, then runs the user's own hook.

    `variables` go to the job's containers by GITHUB_ENV, unless the job has credentials of its
    own, or another value. There is no `admission` here yet (`open_admission_channel`).
    """
    del runner_dir, admission
    pipe = str(channel).rpartition("\\")[2]
    script = (
        f"# Tells the agent that a job has {event}; never delays or fails the job.\n"
        "try {\n"
        f"  $pipe = New-Object System.IO.Pipes.NamedPipeClientStream('.', '{pipe}', 'Out')\n"
        "  $pipe.Connect(1000)\n"
        f'  $line = [Text.Encoding]::UTF8.GetBytes("{event}`n")\n'
        "  $pipe.Write($line, 0, $line.Length)\n"
        "  $pipe.Dispose()\n"
        "} catch { }\n"
    )
    for name, value in (variables or {}).items():
        line, plain = f"{name}={value}".replace("'", "''"), value.replace("'", "''")
        script += (
            f"if ($env:GITHUB_ENV -and -not $env:AWS_ACCESS_KEY_ID -and "
            f"(-not $env:{name} -or $env:{name} -eq '{plain}')) "
            f"{{ try {{ Add-Content -Encoding utf8 -Path $env:GITHUB_ENV -Value '{line}' }} "
            "catch { } }\n"
        )
    return script + (f"& '{user_hook}'\nexit $LASTEXITCODE\n" if user_hook else "")
