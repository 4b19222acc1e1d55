"""Run a real docker engine in a task's network namespace, and leave nothing of it.

The engine has its own mount and process namespaces. Its mounts end with it, and one kill ends it
and all its containers. That also happens if the test run is killed.
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
"""Seconds that a command may take by default."""
STOPPED = 20.0
"""Seconds until an engine that was asked to end is killed."""

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

EMPTY = "base"
"""An empty image, used with USERLAND."""
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
"""Mounts that make a container of the empty image a Debian with the AWS clients, read-only."""

# The engine sees ROOT below a layer that is thrown away, so that neither this machine's files nor
# the cached root are ever written. This machine's root is its /host.
_START_SCRIPT = """
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
    """A command failed; the text has all its output."""


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    space: Space
    """Its network namespace."""
    folder: Path
    """Its folder; `run/` in it is the engine's /run."""
    pid: int
    """Its process id on this machine."""
    host: str | None = None
    """The DOCKER_HOST of its clients; None: the engine's own socket."""
    name: str = "docker.sock"
    """The name of its socket in /run."""

    def with_host(self, host: str | None) -> Engine:
        """Return the same engine with another DOCKER_HOST for its clients."""
        return replace(self, host=host)

    def share(self, folder: Path) -> None:
        """Mount a folder of this machine at the same path where the engine runs."""
        path = shlex.quote(str(folder))
        self.run_command("sh", "-ec", f"mkdir -p {path} && mount --bind /host{path} {path}")

    @property
    def cgroup(self) -> str:
        """The control group of all its containers."""
        return f"/{self.folder.name}"

    @property
    def socket(self) -> Path:
        """The path of its socket."""
        return self.folder / "run" / self.name

    def docker(
        self,
        *argv: str,
        text: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> str:
        """Run `docker ARGV` (the client that came with the engine); return its output.

        `text` is its input. Raises Failed.
        """
        environment = ("env", *_assignments(env or {}))
        return self.run_command(*environment, "docker", *argv, text=text, timeout=timeout)

    def docker_run(self, *arguments: str, timeout: float = TIMEOUT) -> str:
        """Run `docker run --rm ARGUMENTS`, a container that prints something; return its output.

        Two seconds after a container's end dockerd drops what it has not read of its output, which
        on a busy machine may be all (moby/moby 27289, 43121): then another one is run.
        """
        run = ("run", "--rm", *arguments)
        return self.docker(*run, timeout=timeout) or self.docker(*run, timeout=timeout)

    def command(self, *argv: str, env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command that runs `docker ARGV` there, for a caller that starts it itself."""
        environment = (
            "env",
            "--ignore-environment",
            *_assignments({**self._environment, **(env or {})}),
        )
        return [*self._enter, *environment, "docker", *argv]

    @property
    def _environment(self) -> dict[str, str]:
        # This machine may have another docker before Debian's in its PATH.
        return {"PATH": PATH, "DOCKER_HOST": self.host or f"unix:///run/{self.name}"}

    @property
    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.pid}", "--mount", "--root", "--wd")

    def run_command(self, *argv: str, text: bytes | None = None, timeout: float = TIMEOUT) -> str:
        """Run a command where the engine runs, with its view of the disk; return its output.

        Raises Failed.
        """
        done = subprocess.run(
            [*self._enter, *argv],
            check=False,
            env=self._environment,
            input=text or b"",
            capture_output=True,
            timeout=timeout,
        )
        out, errors = done.stdout.decode(), done.stderr.decode()
        if done.returncode != 0:
            raise Failed(f"{shlex.join(argv)}: {done.returncode}\n{out}\n{errors}")
        # Builders print to either stream; for other commands only the standard output counts.
        return out + errors if "build" in argv else out

    def run(
        self,
        *argv: str,
        network: str = "bridge",
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        timeout: float = TIMEOUT,
    ) -> str:
        """Run `argv` in a new container that has USERLAND; return its output."""
        variables = [f"--env={key}={value}" for key, value in (env or {}).items()]
        arguments = (f"--network={network}", *USERLAND, *variables, *options)
        return self.docker_run(*arguments, EMPTY, *argv, timeout=timeout)

    def log(self) -> str:
        """Return the end of its log."""
        return (self.folder / "run" / "dockerd.log").read_text(errors="replace")[-8000:]


def _assignments(env: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in env.items()]


@contextmanager
def start(
    space: Space, root: Path, clients: Path, *options: str, name: str = Engine.name
) -> Iterator[Engine]:
    """Run the dockerd of `root` within `space`; `options` are dockerd's own.

    It listens at /run/`name`.
    """
    with (
        create_folder() as folder,
        start_in(space, root, clients, folder, *options, name=name) as engine,
    ):
        engine.docker("import", "-", EMPTY, text=bytes(10240))  # an archive of nothing
        yield engine


@contextmanager
def create_folder() -> Iterator[Path]:
    """Make a folder for the data of an engine that is stopped and started again."""
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    for name in ("layer", "run", "data"):
        (folder / name).mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def start_in(
    space: Space,
    root: Path,
    clients: Path,
    folder: Path,
    *options: str,
    name: str = Engine.name,
) -> Iterator[Engine]:
    """Run an engine in a folder that `create_folder` has made."""
    argv = [*spaces.DIE_WITH_PARENT, *space.argv("unshare", "--mount", "--pid", "--fork")]
    argv += ["--kill-child", "--", "sh", "-ec", _START_SCRIPT, "sh", *options]
    argv.append(f"--host=unix:///run/{name}")
    env = {"FOLDER": str(folder), "ROOT": str(root), "CLIENTS": str(clients), "PATH": PATH}
    process = subprocess.Popen(argv, env={**env, "NAME": folder.name}, stderr=subprocess.PIPE)
    try:
        with process:
            try:
                yield Engine(
                    space, folder, _wait_for_answer(process, folder / "run" / name), name=name
                )
            finally:
                _stop(process)
    finally:
        _remove_cgroups(folder.name)


def _wait_for_answer(process: subprocess.Popen[bytes], path: Path) -> int:
    """Wait until the engine answers; return its process id."""
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
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)  # ends at once with the engine; else the next try
    process.kill()
    output = process.stderr.read() if process.stderr else b""
    log_text = log.read_text(errors="replace")[-4000:] if log.exists() else ""
    raise AssertionError(f"the engine never answered: {output!r}\n{log_text}")


def _child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the engine to end; then kill it and all its containers."""
    if process.poll() is None:
        try:
            os.kill(_child(process.pid), signal.SIGTERM)
            process.wait(STOPPED)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            process.kill()


def _remove_cgroups(name: str) -> None:
    """Remove the empty control groups of a killed engine."""
    for top in find_cgroups(name):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def find_cgroups(name: str) -> list[Path]:
    """Find the control groups of the engine of this name.

    Those of other engines may vanish meanwhile, which `os.walk` ignores; `Path.glob` does not.
    """
    walk = os.walk("/sys/fs/cgroup")
    return [Path(folder, name) for folder, folders, _ in walk if name in folders]
