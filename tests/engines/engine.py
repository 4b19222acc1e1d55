"""A real docker engine in a task's network namespace, with nothing of it left afterwards.

The engine has mounts and process numbers of its own: what it mounts goes with it, and one kill
ends it with all its containers, as it ends if the test run itself is killed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines import spaces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.engines.spaces import Space

READY = 60.0
"""Seconds within which an engine answers."""
TIMEOUT = 60.0
"""Seconds that a command may take unless told otherwise."""
STOPPED = 20.0
"""Seconds that an engine has to end by itself."""

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

EMPTY = "base"
"""An image of nothing at all, used with USERLAND."""
USERLAND = tuple(
    option
    for folder in (
        "usr",
        "usr/bin:bin",
        "usr/sbin:sbin",
        "usr/lib:lib",
        "usr/lib64:lib64",
        "etc/ssl",
        "etc/alternatives",
        "opt/clients",
    )
    for source, _, target in [folder.partition(":")]
    for option in ("--volume", f"/clients/{source}:/{target or source}:ro")
)
"""What makes a container of the empty image a Debian with the AWS clients, read-only."""

# An engine's own view of the disk: ROOT below a layer that is thrown away, so that neither this
# machine's files nor the cached root are ever written; what was the root before is /host.
_START = """
mount -t tmpfs engine "$FOLDER/layer" && cd "$FOLDER/layer" && mkdir upper work root
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=upper,workdir=work" root && cd root
mkdir -p host clients proc sys dev run tmp var/lib/docker
mount -t proc proc proc
mount --rbind /sys sys && mount --rbind /dev dev
mount --bind "$FOLDER/run" run && mount --bind "$FOLDER/data" var/lib/docker
mount --bind "$CLIENTS" clients && mount -t tmpfs tmp tmp
pivot_root . host && cd /
echo '{}' >/run/daemon.json
exec dockerd --config-file /run/daemon.json --cgroup-parent "/$NAME" "$@" >>/run/dockerd.log 2>&1
"""


class Failed(AssertionError):
    """A command failed; the text has all it said."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers."""

    space: Space
    """The network namespace it is in."""
    folder: Path
    """`run/` of it is the engine's /run."""
    pid: int
    """The engine's process, as this machine numbers it."""
    host: str | None = None
    """Where docker clients are sent, as in DOCKER_HOST; None: to the engine itself."""
    name: str = "docker.sock"
    """The socket's, in its /run."""

    def through(self, host: str | None) -> Engine:
        """Return the same engine, whose clients are sent to `host` instead."""
        return replace(self, host=host)

    def share(self, folder: Path) -> None:
        """Have `folder` of this machine be at the same path where the engine runs."""
        path = shlex.quote(str(folder))
        self.inside("sh", "-ec", f"mkdir -p {path} && mount --bind /host{path} {path}")

    @property
    def cgroup(self) -> str:
        """The control group of all its containers."""
        return f"/{self.folder.name}"

    @property
    def socket(self) -> Path:
        """Where it answers."""
        return self.folder / "run" / self.name

    def docker(
        self,
        *argv: str,
        text: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> str:
        """Run `docker ARGV` (the client that came with the engine); return what it printed.

        `text` is what it reads. Raises Failed.
        """
        told = ("env", *_assigned(env or {}), "docker")
        return self.inside(*told, *argv, text=text, timeout=timeout)

    def command(self, *argv: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return what runs `docker ARGV` there, for one who starts it in a way of its own."""
        told = ("env", "--ignore-environment", *_assigned({**self._environment, **(env or {})}))
        return [*self._there, *told, "docker", *argv]

    @property
    def _environment(self) -> dict[str, str]:
        # This machine may have another docker in front of Debian's.
        return {"PATH": PATH, "DOCKER_HOST": self.host or f"unix:///run/{self.name}"}

    @property
    def _there(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.pid}", "--mount", "--root", "--wd")

    def inside(self, *argv: str, text: bytes | None = None, timeout: float = TIMEOUT) -> str:
        """Run a command where the engine runs, with its view of the disk; return what it said.

        Raises Failed.
        """
        done = subprocess.run(
            [*self._there, *argv],
            check=False,
            env=self._environment,
            input=text or b"",
            capture_output=True,
            timeout=timeout,
        )
        out, errors = done.stdout.decode(), done.stderr.decode()
        if done.returncode != 0:
            raise Failed(f"{shlex.join(argv)}: {done.returncode}\n{out}\n{errors}")
        # A builder tells on either; else only what was asked for counts.
        return out + errors if "build" in argv else out

    def run(
        self,
        *argv: str,
        network: str = "bridge",
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        timeout: float = TIMEOUT,
    ) -> str:
        """Run `argv` in a new container that has USERLAND; return what it printed."""
        variables = [f"--env={key}={value}" for key, value in (env or {}).items()]
        told = ("--rm", f"--network={network}", *USERLAND, *variables, *options)
        return self.docker("run", *told, EMPTY, *argv, timeout=timeout)

    def log(self) -> str:
        """Return what it has logged of late."""
        return (self.folder / "run" / "dockerd.log").read_text(errors="replace")[-8000:]


def _assigned(env: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in env.items()]


@contextmanager
def started(
    space: Space, root: Path, clients: Path, *options: str, name: str = Engine.name
) -> Iterator[Engine]:
    """Run the dockerd that is in `root` within `space`; `options` are dockerd's own.

    It listens at /run/`name`.
    """
    with kept() as folder, running(space, root, clients, folder, *options, name=name) as engine:
        engine.docker("import", "-", EMPTY, text=bytes(10240))  # an archive of nothing
        yield engine


@contextmanager
def kept() -> Iterator[Path]:
    """Give a folder for an engine that ends and comes back, with all that it holds."""
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    for name in ("layer", "run", "data"):
        (folder / name).mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    space: Space,
    root: Path,
    clients: Path,
    folder: Path,
    *options: str,
    name: str = Engine.name,
) -> Iterator[Engine]:
    """Run an engine out of a folder that is `kept`."""
    argv = [*spaces.DYING_WITH_US, *space.argv("unshare", "--mount", "--pid", "--fork")]
    argv += ["--kill-child", "--", "sh", "-ec", _START, "sh", *options]
    argv.append(f"--host=unix:///run/{name}")
    env = {"FOLDER": str(folder), "ROOT": str(root), "CLIENTS": str(clients), "PATH": PATH}
    process = subprocess.Popen(argv, env={**env, "NAME": folder.name}, stderr=subprocess.PIPE)
    try:
        with process:
            try:
                yield Engine(space, folder, _answering(process, folder / "run" / name), name=name)
            finally:
                _stop(process)
    finally:
        _without_cgroups(folder.name)


def _answering(process: subprocess.Popen[bytes], path: Path) -> int:
    """Wait until the engine answers; return its process."""
    deadline = time.monotonic() + READY
    log = path.with_name("dockerd.log")
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.settimeout(1)
                client.connect(str(path))
                client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                if b"200" in client.recv(64):
                    return _child(process.pid)
            except OSError:
                time.sleep(0.05)  # no event tells that a socket has appeared
    process.kill()
    said = process.stderr.read() if process.stderr else b""
    told = log.read_text(errors="replace")[-4000:] if log.exists() else ""
    raise AssertionError(f"the engine never answered: {said!r}\n{told}")


def _child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the engine to end; then kill it, and all its containers with it."""
    if process.poll() is None:
        try:
            os.kill(_child(process.pid), signal.SIGTERM)
            process.wait(STOPPED)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            process.kill()


def _without_cgroups(name: str) -> None:
    """Remove the control groups that a killed engine has left; they are empty."""
    for top in Path("/sys/fs/cgroup").glob(f"**/{name}"):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
