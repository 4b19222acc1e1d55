"""POSIX: Linux in production, any other Unix for development."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

LISTENER = Path("bin/Runner.Listener")
HOOK_SUFFIX = ".sh"
DEFAULT_RUNNER_DIR = "/home/runner"

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_FIFO_READ = 4096
_MOST_ENTRIES = 4096


# ---- this process ----------------------------------------------------------------------------


def hear_shutdown() -> None:
    """Let the stops through that came before anybody could hear them.

    Who starts the agent as a container's first program blocks them meanwhile (entrypoint/start):
    else the kernel would drop them.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed, else None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def most_files() -> int:
    """Return how many files and sockets this process may have open (RLIMIT_NOFILE)."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def is_root() -> bool:
    """Whether this process may become another user."""
    return os.geteuid() == 0


def harden() -> None:
    """Hide this process's memory from its own user, and adopt the orphans of its children.

    Not dumpable: /proc/<pid>/environ and mem become root's, ptrace is refused. Subreaper:
    a daemon that a job leaves behind becomes our child, so that it can be found and ended.
    """
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    import ctypes

    with suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


_MEMORY_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Where control groups of version 2, and of version 1, count it."""


def memory_kills() -> int:
    """Return how many processes of this container the kernel has killed for want of memory."""
    for path in _MEMORY_EVENTS:
        with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123
            for line in file:
                name, _, count = line.partition(b" ")
                if name == b"oom_kill":
                    return int(count)
    return 0


# ---- the network namespace ---------------------------------------------------------------------

_CAP_NET_ADMIN = 12
AGENT_MARK = 0x45525343
"""What tells the agent's own sockets from a job's: "ERSC". A job may not set it (EPERM)."""


def mark(sock: socket.socket) -> None:
    """Mark a socket as the agent's own, where this process may."""
    import socket

    option = getattr(socket, "SO_MARK", None)  # only Linux has it
    if option is not None:
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, option, AGENT_MARK)


def may_filter() -> bool:
    """Whether this process may change the rules of its network namespace: NET_ADMIN, as root."""
    if not is_root():
        return False
    with suppress(OSError), open("/proc/self/status", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1)
    return False


def hold_address(address: str) -> None:
    """Give the loopback interface one more IPv4 address, alone on its network.

    One message to the kernel, so that no tool is needed and never more than that one address is
    there. It bears a label of ours. That it is there already is no error; raises OSError.
    """
    _tell_address(_RTM_NEWADDR, _NLM_F_CREATE, address, errno.EEXIST)


def let_address_go(address: str) -> None:
    """Take that address away again, if it is there. Raises OSError."""
    _tell_address(_RTM_DELADDR, 0, address, errno.EADDRNOTAVAIL)


_RTM_NEWADDR, _RTM_DELADDR = 20, 21
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE = 0x1, 0x4, 0x400
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL = 1, 2, 3
_SCOPE_HOST = 254
_ADDRESS_LABEL = b"lo:sidecar\0"


def _tell_address(verb: int, flags: int, address: str, harmless: int) -> None:
    """Send one rtnetlink message about an address of `lo` (rtnetlink(7)), and hear the answer."""
    import socket
    import struct

    family = getattr(socket, "AF_NETLINK", None)
    if family is None:  # only Linux has it
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    number = socket.inet_aton(address)
    told = struct.pack("=BBBBI", socket.AF_INET, 32, 0, _SCOPE_HOST, socket.if_nametoindex("lo"))
    facts = ((_IFA_LOCAL, number), (_IFA_ADDRESS, number), (_IFA_LABEL, _ADDRESS_LABEL))
    for kind, value in facts:
        told += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    flags |= _NLM_F_REQUEST | _NLM_F_ACK
    with socket.socket(family, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(_NETLINK_TIMEOUT)
        kernel.sendto(struct.pack("=IHHII", 16 + len(told), verb, flags, 1, 0) + told, (0, 0))
        (answer,) = struct.unpack_from("=i", kernel.recv(4096), 16)
    if answer not in (0, -harmless):
        raise OSError(-answer, os.strerror(-answer))


_NETLINK_TIMEOUT = 2.0
_CLAIM = "\0ecs-runner-sidecar"


def claim_network() -> socket.socket | None:
    """Claim this network namespace for as long as the socket returned is open; None: it is taken.

    An abstract socket belongs to its network namespace and ends with the process, however that
    ends: so a claim that stands is that of an agent which lives. Only root's counts, lest a job
    keep the next agent out.
    """
    import socket

    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(_CLAIM)
        claim.listen(1)
    except OSError:
        if _is_root_s(claim):
            claim.close()
            return None
    return claim


def _is_root_s(other: socket.socket) -> bool:
    """Connect to who listens there, and ask the kernel who that is (unix(7), SO_PEERCRED)."""
    import socket
    import struct

    option = getattr(socket, "SO_PEERCRED", None)  # only Linux has it
    if option is None:
        return False
    try:
        other.setblocking(False)
        other.connect(_CLAIM)
        _, uid, _ = struct.unpack("=iII", other.getsockopt(socket.SOL_SOCKET, option, 12))
    except BlockingIOError:
        return True  # its queue is full: others asked before, and an agent never answers
    except OSError:
        return False
    return bool(uid == 0)


# ---- users and files -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that the runner's processes run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def identity(name: str) -> Identity | None:
    """Look a user up by name; None if there is no such user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Identity(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def own_name() -> str:
    """Return the name of the user this process runs as, or its number if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def guard(root: Path, user: Identity) -> None:
    """Let `user` write files into `root`, and nobody replace its `bin/`.

    The folder becomes root's and sticky: the user's group may add entries, but entries that are
    root's can be neither renamed nor removed by it.
    """
    os.chown(root, 0, user.gid)
    root.chmod(0o1775)
    for folder, _, names in os.walk(root / "bin"):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118
            if os.lstat(path).st_uid != 0:
                os.chown(path, 0, 0, follow_symlinks=False)


def make_folder(path: Path, user: Identity | None) -> None:
    """Make `path` a folder, if it is none yet, and `user`'s, if it is root's."""
    path.mkdir(parents=True, exist_ok=True)
    if user is not None and os.lstat(path).st_uid == 0:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it; that it is not there is no error."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def private_folder(path: Path) -> None:
    """Make `path` an empty folder of this process, readable by all, whatever stood there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.mkdir()
    path.chmod(0o755)  # mkdir's own mode is cut by the umask


def write_new(path: Path, content: bytes, mode: int, user: Identity | None) -> None:
    """Write `content` into a new file at `path`; what stood there (a link, say) is replaced."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        if user is not None:
            os.fchown(descriptor, user.uid, user.gid)
        file.write(content)


def read_regular(path: Path) -> tuple[bytes, int] | None:
    """Return content and mode of the regular file at `path`; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(), stat.S_IMODE(status.st_mode)


def read_newest(
    folder: Path, fits: Callable[[str], object], size: int, since: float
) -> tuple[str, bytes] | None:
    """Return name and last `size` bytes of the newest file in `folder` whose name `fits`.

    Names that fit hold their time, so the greatest is the newest; None if it was last written
    before `since` (seconds since the epoch). Whoever owns the folder gains nothing by it:
    links of either kind, pipes and devices are not read, and of many files only some are seen.
    """
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        with os.scandir(inside) as entries:
            names = [entry.name for entry in islice(entries, _MOST_ENTRIES) if fits(entry.name)]
        if not names:
            return None
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(max(names), flags, dir_fd=inside)
        with os.fdopen(descriptor, "rb", buffering=0):
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_mtime < since:
                return None
            return max(names), os.pread(descriptor, size, max(0, status.st_size - size))
    except OSError:
        return None
    finally:
        os.close(inside)


def is_own(path: Path) -> bool:
    """Whether `path` itself, not what a link leads to, is this process's user's."""
    return path.lstat().st_uid == os.geteuid()


# ---- children --------------------------------------------------------------------------------


def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: Identity | None
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, with pipes for its output and nothing for its input.

    The terminal's Ctrl-C reaches only the agent that way, which decides what the child hears.
    """
    return subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **_as(user),
    )


def spawn_attached(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: Identity | None
) -> subprocess.Popen[bytes]:
    """Start a child with this process's own input and output, in a process group of its own.

    A terminal becomes that group's: Ctrl-C is then the child's alone, as without an agent.
    """
    popen = subprocess.Popen(argv, env=dict(env), cwd=cwd, process_group=0, **_as(user))
    if os.isatty(0):
        with suppress(OSError):
            os.tcsetpgrp(0, popen.pid)
            os.killpg(popen.pid, signal.SIGCONT)  # it may have stopped for want of it
    return popen


def _as(user: Identity | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": user.groups}


async def read_pipe(pipe: Any, feed: Callable[[bytes], None]) -> None:
    """Hand every chunk that arrives on `pipe` to `feed`, until its end."""
    import asyncio  # late, here as below: signals are heard before its 50 ms of imports

    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    class Feed(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            feed(data)

        def connection_lost(self, _exc: Exception | None) -> None:
            if not ended.done():
                ended.set_result(None)

    transport, _ = await loop.connect_read_pipe(Feed, pipe)
    try:
        await ended
    finally:
        transport.close()


def interrupt(pid: int) -> None:
    """Ask one process, not its children, to end: SIGINT."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGINT)


def forward(pid: int, name: str) -> None:
    """Hand the stop signal `name` on to the process group that `pid` leads.

    To all of it: a shell that is told alone dies at once, and what it waits for hears nothing.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.Signals[name])


def kill_leftovers(root: int | None, spare: Iterable[int]) -> int:
    """Kill the tree below `root` and every orphan that came to us; return how many were hit.

    `spare` are children of ours that go on, with what they started. Without /proc only the
    sessions that `root` leads can be found.
    """
    spared = set(spare)
    family = _family()
    if family is None:
        return _kill_session(root)
    own = os.getpid()
    roots = [child for child in family.get(own, ()) if child not in spared]
    doomed = [*([root] if root is not None else []), *_below(family, roots)]
    return sum(_kill(pid) for pid in dict.fromkeys(doomed))


def _below(family: dict[int, list[int]], roots: Iterable[int]) -> list[int]:
    found = list(roots)
    for pid in found:  # grows while it is walked: breadth first
        found.extend(family.get(pid, ()))
    return found


def _family() -> dict[int, list[int]] | None:
    """Return parent → children of every living process, from /proc; None where there is none."""
    family: dict[int, list[int]] = {}
    try:
        entries = [entry for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208
    except FileNotFoundError:
        return None
    for entry in entries:
        with suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            if state not in b"ZX":
                family.setdefault(int(parent), []).append(int(entry))
    return family


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _kill_session(leader: int | None) -> int:
    if leader is None:
        return 0
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
        return 1
    return 0


def children() -> list[int]:
    """Return the living children of this process."""
    return (_family() or {}).get(os.getpid(), [])


def has_descendant(root: int, program: str) -> bool:
    """Whether a process named `program` runs somewhere below `root`."""
    return bool(descendants(root, program))


def descendants(root: int, program: str) -> list[int]:
    """List the processes named `program` that are `root` or run somewhere below it."""
    found = []
    for pid in _below(_family() or {}, [root]):
        with suppress(OSError):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(os.path.basename(word) == program.encode() for word in argv[:3]):  # noqa: PTH119
                found.append(pid)
    return found


def reap_orphans(ours: Callable[[int], bool]) -> int:
    """Collect the dead that were adopted; those for which `ours` holds are others' business.

    Only peeks first (WNOWAIT), so that a child somebody waits for is never collected here.
    """
    count = 0
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return count
        if dead is None or ours(dead.si_pid):
            return count
        with suppress(ChildProcessError):
            os.waitpid(dead.si_pid, os.WNOHANG)
        count += 1


# ---- job hooks -------------------------------------------------------------------------------


@asynccontextmanager
async def hook_channel(
    folder: Path, user: Identity | None, hear: Callable[[str], None]
) -> AsyncIterator[Path]:
    """Open a way for a hook to say one line to the agent; yield where it is.

    A FIFO, since a shell can write to one without any client installed, and opening it for
    reading and writing never blocks, even when the agent is gone.
    """
    import asyncio

    path = folder / "hook"
    os.mkfifo(path, 0o600)
    if user is not None:
        os.chown(path, user.uid, user.gid)
    loop = asyncio.get_running_loop()
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def readable() -> None:
        with suppress(BlockingIOError):
            for line in os.read(descriptor, _FIFO_READ).decode(errors="replace").splitlines():
                hear(line.strip())

    loop.add_reader(descriptor, readable)
    try:
        yield path
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        with suppress(FileNotFoundError):
            path.unlink()


def hook_script(
    word: str,
    channel: Path,
    chained: str | None,
    runner_dir: Path,
    told: Mapping[str, str] | None = None,
) -> str:
    """Write the hook that says `word` to the agent, then becomes the user's own hook.

    It fails open: whatever happens to the channel, within a second the job goes on. What is `told`
    goes to the job's containers by GITHUB_ENV, unless the job has credentials of its own, or
    another value.
    """
    script = (
        "#!/bin/sh\n"
        f"# Tells the agent that a job has {word}; never delays or fails the job.\n"
        f'timeout 1 sh -c \'echo "$1" 1<>"$2"\' - {word} {_quoted(str(channel))}'
        " 2>/dev/null || :\n"
    )
    if told:
        script += _telling(told)
    return script + (_chain(chained, runner_dir) if chained else "")


def _telling(told: Mapping[str, str]) -> str:
    lines = (
        f'  [ "${{{name}-{_UNSET}}}" != {_UNSET} ] && [ "${name}" != {_quoted(value)} ]'
        f" || printf '%s\\n' {_quoted(f'{name}={value}')}"
        for name, value in told.items()
    )
    return (
        'if [ -z "${AWS_ACCESS_KEY_ID+x}" ] && [ -w "${GITHUB_ENV:-/dev/null/none}" ]; then {\n'
        + "\n".join(lines)
        + '\n} >>"$GITHUB_ENV" 2>/dev/null || :; fi\n'
    )


_UNSET = "unset"


def _chain(hook: str, runner_dir: Path) -> str:
    """Run the user's hook as the runner itself would, by its ending."""
    quoted = _quoted(hook)
    match Path(hook).suffix.lower():
        case ".js":  # not node24_alpine, which stands beside node24 and sorts after it
            node = f"{_quoted(str(runner_dir))}/externals/node[0-9][0-9]/bin/node"
            return f'for node in {node}; do :; done\nexec "$node" {quoted}\n'
        case ".ps1":
            return "exec pwsh -NoLogo -Command " + _quoted(f". '{hook}'") + "\n"
        case _:
            return (
                f"if command -v bash >/dev/null; then exec bash -e {quoted}; fi\n"
                f"exec sh -e {quoted}\n"
            )


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
