"""Job hooks on POSIX: a FIFO, and shell scripts that write one line to it."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.host.posix import paths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    if sys.platform != "win32":  # the type checker reads this for both systems
        from sidecar.host.posix_users import User

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

HOOK_SUFFIX = ".sh"

_FIFO_READ = 4096
_UNSET = "unset"


@asynccontextmanager
async def open_hook_channel(
    folder: Path, user: User | None, on_event: Callable[[str], None]
) -> AsyncIterator[Path]:
    """Open a FIFO to which a hook writes a line, which `on_event` gets; yield its path.

    A FIFO, because a shell can write to it without any client. Opening it for reading and writing
    never blocks, even when the agent is gone.
    """
    import asyncio  # late: signals are handled before its 50 ms of imports

    path = folder / "hook"
    owner = (-1, -1) if user is None else (user.uid, user.gid)
    descriptor = paths.make_fifo(path, *owner, 0o600)
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(BlockingIOError):
            for line in os.read(descriptor, _FIFO_READ).decode(errors="replace").splitlines():
                on_event(line.strip())

    loop.add_reader(descriptor, read)
    try:
        yield path
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        with suppress(FileNotFoundError):
            path.unlink()


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
    `admission` end it (`build_admission_script`). `variables` go to the job's
    containers by GITHUB_ENV, unless the job has credentials of its own, or another value.
    """
    script = (
        "#!/bin/sh\n"
        f"# Tells the agent that a job has {event}; that never delays or fails the job.\n"
        f'timeout 1 sh -c \'echo "$1" 1<>"$2"\' - {event} {_quote(str(channel))}'
        " 2>/dev/null || :\n"
    )
    script += admission
    if variables:
        script += _export(variables)
    return script + (_run_user_hook(user_hook, runner_dir) if user_hook else "")


def _export(variables: Mapping[str, str]) -> str:
    """Return shell lines that append to GITHUB_ENV what the job has not set itself."""
    lines = (
        f'  [ "${{{name}-{_UNSET}}}" != {_UNSET} ] && [ "${name}" != {_quote(value)} ]'
        f" || printf '%s\\n' {_quote(f'{name}={value}')}"
        for name, value in variables.items()
    )
    return (
        'if [ -z "${AWS_ACCESS_KEY_ID+x}" ] && [ -w "${GITHUB_ENV:-/dev/null/none}" ]; then {\n'
        + "\n".join(lines)
        + '\n} >>"$GITHUB_ENV" 2>/dev/null || :; fi\n'
    )


def _run_user_hook(hook: str, runner_dir: Path) -> str:
    """Return shell lines that run the user's hook by its suffix, as the runner itself would."""
    quoted = _quote(hook)
    match Path(hook).suffix.lower():
        case ".js":  # not node24_alpine, which is beside node24 and sorts after it
            node = f"{_quote(str(runner_dir))}/externals/node[0-9][0-9]/bin/node"
            return f'for node in {node}; do :; done\nexec "$node" {quoted}\n'
        case ".ps1":
            return "exec pwsh -NoLogo -Command " + _quote(f". '{hook}'") + "\n"
        case _:
            return (
                f"if command -v bash >/dev/null; then exec bash -e {quoted}; fi\n"
                f"exec sh -e {quoted}\n"
            )


def _quote(text: str) -> str:
    import shlex

    return shlex.quote(text)
