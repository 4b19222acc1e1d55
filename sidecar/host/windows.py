"""Windows: the same names as posix.py. Type-checked everywhere, run only on Windows.

Windows has no signals, no runner user here (the container's user is the boundary) and no
orphans: what a child started is found by its parent's id.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

LISTENER = Path("bin/Runner.Listener.exe")
HOOK_SUFFIX = ".ps1"
DEFAULT_RUNNER_DIR = r"C:\actions-runner"

_CTRL_CLOSE, _CTRL_LOGOFF, _CTRL_SHUTDOWN = 2, 5, 6
_PIPE_READ = 4096
_keep_alive: list[object] = []


# ---- this process ----------------------------------------------------------------------------


def hear_shutdown() -> None:
    """Turn the console's close and shutdown events into SIGBREAK.

    A container stop arrives as CTRL_SHUTDOWN_EVENT on a thread of its own, and the process is
    ended as soon as that thread returns: so it never does.
    """
    import ctypes

    @ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)  # type: ignore[untyped-decorator]
    def handle(event: int) -> int:
        if event in (_CTRL_CLOSE, _CTRL_LOGOFF, _CTRL_SHUTDOWN):
            signal.raise_signal(signal.SIGBREAK)
            threading.Event().wait()
        return 0

    _keep_alive.append(handle)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(handle, 1)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the Proactor loop, the one that knows pipes."""
    return asyncio.ProactorEventLoop


def most_files() -> int:
    """Return how many sockets this process may have open: there is no such limit here."""
    return sys.maxsize


def is_root() -> bool:
    """Say that the runner stays the agent's own user."""
    return False


def memory_kills() -> int:
    """Return 0: Windows does not kill for want of memory, it refuses to give more."""
    return 0


def harden() -> None:
    """Do nothing: another process of the same user may always look."""


# ---- the network namespace ---------------------------------------------------------------------

AGENT_MARK = 0
"""No socket bears a mark here."""


def mark(sock: socket.socket) -> None:
    """Do nothing: no rule could tell this socket from a job's."""
    del sock


def may_filter() -> bool:
    """Say that the network's rules are not ours to change."""
    return False


def hold_address(address: str) -> None:
    """Never: no rule would lead there."""
    raise OSError(f"cannot hold {address}")


def let_address_go(address: str) -> None:
    """Do nothing: none was held."""
    del address


def claim_network() -> socket.socket | None:
    """Never: there is nothing to be alone with."""
    return None


# ---- users and files -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that the runner's processes run as; never another one here."""

    name: str
    home: str


def identity(name: str) -> Identity | None:
    """Say that no other user can be become."""
    del name
    return None


def own_name() -> str:
    """Return the name of the user this process runs as."""
    return getpass.getuser()


def guard(root: Path, user: Identity) -> None:
    """Do nothing: there is no other user."""


def make_folder(path: Path, user: Identity | None) -> None:
    """Make `path` a folder, if it is none yet; there is but one user here."""
    del user
    path.mkdir(parents=True, exist_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; that it is not there is no error."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def private_folder(path: Path) -> None:
    """Make `path` an empty folder, whatever stood there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.mkdir()


def write_new(path: Path, content: bytes, mode: int, user: Identity | None) -> None:
    """Write `content` into a new file at `path`; what stood there is replaced."""
    del mode, user
    with suppress(FileNotFoundError):
        path.unlink()
    with path.open("xb") as file:
        file.write(content)


def is_own(path: Path) -> bool:
    """Whether `path` is there: here agent and runner are one user."""
    return path.exists()


def read_regular(path: Path) -> tuple[bytes, int] | None:
    """Return content and mode of the regular file at `path`; None if there is none."""
    try:
        return (path.read_bytes(), 0o600) if path.is_file() else None
    except OSError:
        return None


def read_newest(
    folder: Path, fits: Callable[[str], object], size: int, since: float
) -> tuple[str, bytes] | None:
    """Return name and last `size` bytes of the newest file in `folder` whose name `fits`.

    Names that fit hold their time, so the greatest is the newest; None if it was last written
    before `since` (seconds since the epoch).
    """
    try:
        newest = max((path for path in folder.iterdir() if fits(path.name)), default=None)
        if newest is None or not newest.is_file() or newest.stat().st_mtime < since:
            return None
        with newest.open("rb") as file:
            file.seek(max(0, newest.stat().st_size - size))
            return newest.name, file.read(size)
    except OSError:
        return None


# ---- children --------------------------------------------------------------------------------


def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: Identity | None
) -> subprocess.Popen[bytes]:
    """Start a child that can be interrupted alone: in a process group of its own."""
    del user
    return subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
    )


def spawn_attached(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: Identity | None
) -> subprocess.Popen[bytes]:
    """Start a child with this process's own input and output, in a process group of its own."""
    del user
    return subprocess.Popen(
        argv, env=dict(env), cwd=cwd, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP
    )


async def read_pipe(pipe: Any, feed: Callable[[bytes], None]) -> None:
    """Hand every chunk that arrives on `pipe` to `feed`, until its end.

    By a thread: the pipes of subprocess are not made for overlapped reads.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def read() -> None:
        with suppress(OSError, ValueError, RuntimeError):
            while chunk := pipe.read1(65536):
                loop.call_soon_threadsafe(feed, chunk)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.cancel)

    threading.Thread(target=read, daemon=True).start()
    await asyncio.wait([ended])


def interrupt(pid: int) -> None:
    """Ask the process group of `pid` to end: Ctrl-Break, since Ctrl-C reaches no other group."""
    with suppress(OSError):
        os.kill(pid, signal.CTRL_BREAK_EVENT)


def forward(pid: int, name: str) -> None:
    """Hand a stop on to the process group of `pid`; there is one kind of it here."""
    del name
    interrupt(pid)


def kill_leftovers(root: int | None, spare: Iterable[int]) -> int:
    """Kill the tree below `root`; return 1 if there was one."""
    del spare
    if root is None:
        return 0
    killed = subprocess.run(
        ["taskkill", "/T", "/F", "/PID", str(root)], capture_output=True, check=False, timeout=10
    )
    return int(killed.returncode == 0)


def children() -> list[int]:
    """Return none: only the tree below a known child is ever killed here."""
    return []


def descendants(root: int, program: str) -> list[int]:
    """Find none: nothing is told of a tree here."""
    del root, program
    return []


def has_descendant(root: int, program: str) -> bool:
    """Say no: the job hook alone tells of a job here."""
    del root, program
    return False


def reap_orphans(ours: Callable[[int], bool]) -> int:
    """Do nothing: the dead need no collecting."""
    del ours
    return 0


# ---- job hooks -------------------------------------------------------------------------------


@asynccontextmanager
async def hook_channel(
    folder: Path, user: Identity | None, hear: Callable[[str], None]
) -> AsyncIterator[Path]:
    """Open a named pipe by which a hook says one line to the agent; yield its path."""
    del user
    path = rf"\\.\pipe\runner-sidecar-{abs(hash(folder))}"

    async def read(reader: asyncio.StreamReader) -> None:
        for line in (await reader.read(_PIPE_READ)).decode(errors="replace").splitlines():
            hear(line.strip())

    readers: set[asyncio.Task[None]] = set()

    def connected() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader()
        readers.add(asyncio.create_task(read(reader)))
        return asyncio.StreamReaderProtocol(reader)

    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.ProactorEventLoop)  # noqa: S101
    servers = await loop.start_serving_pipe(connected, path)
    try:
        yield Path(path)
    finally:
        for server in servers:
            server.close()
        for task in readers:
            task.cancel()


def hook_script(
    word: str,
    channel: Path,
    chained: str | None,
    runner_dir: Path,
    told: Mapping[str, str] | None = None,
) -> str:
    """Write the hook that says `word` to the agent, then runs the user's own hook.

    What is `told` goes to the job's containers by GITHUB_ENV, unless the job has credentials of
    its own, or another value.
    """
    del runner_dir
    name = str(channel).rpartition("\\")[2]
    script = (
        f"# Tells the agent that a job has {word}; never delays or fails the job.\n"
        "try {\n"
        f"  $pipe = New-Object System.IO.Pipes.NamedPipeClientStream('.', '{name}', 'Out')\n"
        "  $pipe.Connect(1000)\n"
        f'  $line = [Text.Encoding]::UTF8.GetBytes("{word}`n")\n'
        "  $pipe.Write($line, 0, $line.Length)\n"
        "  $pipe.Dispose()\n"
        "} catch { }\n"
    )
    for name, value in (told or {}).items():
        line, plain = f"{name}={value}".replace("'", "''"), value.replace("'", "''")
        script += (
            f"if ($env:GITHUB_ENV -and -not $env:AWS_ACCESS_KEY_ID -and "
            f"(-not $env:{name} -or $env:{name} -eq '{plain}')) "
            f"{{ try {{ Add-Content -Encoding utf8 -Path $env:GITHUB_ENV -Value '{line}' }} "
            "catch { } }\n"
        )
    return script + (f"& '{chained}'\nexit $LASTEXITCODE\n" if chained else "")
