"""A machine whose first process is a real systemd, in namespaces and a cgroup of its own."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import termios
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
AGENT = "runner-sidecar"
PATIENCE = 180.0
"""Seconds in which a machine must have said something, or be off."""
POWERED_OFF = -signal.SIGINT
"""The end of process 1 of a namespace when it powers the machine off: reboot(2)."""
METADATA = {
    "metadata.socket": """\
[Socket]
ListenStream=169.254.169.254:80
Accept=yes
""",
    "metadata@.service": f"""\
[Service]
ExecStart=/bin/sh /usr/local/bin/{(HERE / "metadata.sh").name}
StandardInput=socket
StandardError=null
""",
}
CLOUD_INIT = """\
[Unit]
Requires=metadata.socket
After=metadata.socket
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh /usr/local/bin/user-data; exit $?'
StandardOutput=journal+console
StandardError=journal+console
"""


def find_missing() -> str:
    """Say what keeps systemd from being the first process of a namespace here; "" if nothing."""
    wanted = ("unshare", "setpriv", "ip", "curl", "pivot_root")
    missing = [each for each in wanted if not shutil.which(each)]
    if not Path("/usr/lib/systemd/systemd").exists():
        missing.append("systemd")
    if not _find_cgroups():
        missing.append("a cgroup2 file system")
    return f"needs {', '.join(missing)}" if missing else ""


class Disk:
    """The state that a machine keeps from one boot to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for each in ("root", "programs", "units", "lib", "opt"):
            (folder / each).mkdir()
        shutil.copy(HERE / "metadata.sh", folder / "programs")
        for name, text in METADATA.items():
            self.write_unit(name, text)

    def write_unit(self, name: str, text: str) -> None:
        """Write a unit, or a part of one."""
        path = self.folder / "units" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def want(self, name: str) -> None:
        """Let the machine start a unit when it boots."""
        folder = self.folder / "units" / "multi-user.target.wants"
        folder.mkdir(exist_ok=True)
        (folder / name).symlink_to(f"../{name}")

    def write_program(self, name: str, text: str) -> None:
        """Write a program of the machine's image."""
        path = self.folder / "programs" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def write_user_data(self, text: str) -> None:
        """Write what the first boot runs, as cloud-init does."""
        (self.folder / "programs" / "user-data").write_text(text)
        self.write_unit("cloud-init.service", CLOUD_INIT)
        self.want("cloud-init.service")

    def forget_user_data(self) -> None:
        """Be a machine that has booted before: cloud-init runs user data once."""
        (self.folder / "units" / "multi-user.target.wants" / "cloud-init.service").unlink()

    def shorten(self, unit: str, section: str, **values: str) -> None:
        """Replace times of a unit by shorter ones, or its command."""
        lists = [f"{key}=" for key in values if key.startswith(("On", "Exec"))]
        lines = [*lists, *(f"{key}={value}" for key, value in values.items())]
        self.write_unit(f"{unit}.d/short.conf", "\n".join([f"[{section}]", *lines, ""]))

    def boot(self, opt: str = "exec") -> str:
        """Boot, and wait until the machine is off; return what its console has shown.

        `opt`: mount options of /opt.
        """
        with (
            closing(_Console()) as console,
            _cgroup(self.folder) as processes,
            _start(self.folder, processes, console, opt) as process,
        ):
            code = _watch(process, console)
            assert code == POWERED_OFF, f"it crashed ({code}): {console.text}"
            return console.text


class _Console:
    """The machine's terminal."""

    def __init__(self) -> None:
        self.master, self.terminal = os.openpty()
        self.name = os.ttyname(self.terminal)
        termios.tcsetwinsize(self.terminal, (50, 200))  # systemd shortens what is too wide
        self._text = b""

    @property
    def text(self) -> str:
        """The lines that it has shown."""
        return self._text.decode(errors="replace").replace("\r", "")

    def read(self) -> None:
        """Read what is there."""
        try:
            self._text += os.read(self.master, 65536)
        except OSError:  # a program in there has hung it up; each other opens it again
            os.close(self.terminal)
            self.terminal = os.open(self.name, os.O_RDWR | os.O_NOCTTY)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.terminal)
        os.close(self.master)


def _watch(process: subprocess.Popen[bytes], console: _Console) -> int:
    """Read the console until the first process has ended; return how it has."""
    end = time.monotonic() + PATIENCE
    ended = os.pidfd_open(process.pid)
    try:
        while ready := select.select(
            [console.master, ended], [], [], max(0, end - time.monotonic())
        )[0]:
            if console.master in ready:
                console.read()
            else:
                return process.wait()
    finally:
        os.close(ended)
    pytest.fail(f"the machine is still on after {PATIENCE} s: {console.text}")


@contextmanager
def _start(
    folder: Path, processes: Path, console: _Console, opt: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the first process; kill all of the machine at the end."""
    join = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(processes)]
    spaces = ["--pid", "--fork", "--kill-child", "--mount", "--cgroup", "--uts", "--ipc", "--net"]
    program = [str(HERE / "start.sh"), str(folder), console.name, opt]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), console.terminal)
    command = [*join, "unshare", *spaces, *program]
    with subprocess.Popen(command, **streams, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _cgroup(folder: Path) -> Iterator[Path]:
    """Make a cgroup; yields the file that takes its processes."""
    made = Path(_find_cgroups()) / f"machine-{os.getpid()}-{folder.name}"
    made.mkdir()
    try:
        yield made / "cgroup.procs"
    finally:
        _kill_all(made)
        for each, _, _ in os.walk(made, topdown=False):
            Path(each).rmdir()


def _kill_all(cgroup: Path) -> None:
    """Kill what is left, and wait until nothing is."""
    (cgroup / "cgroup.kill").write_text("1")
    changes = select.poll()
    with (cgroup / "cgroup.events").open() as events:
        changes.register(events, select.POLLPRI)
        while "populated 1" in events.read() and changes.poll(PATIENCE * 1000):
            events.seek(0)


def _find_cgroups() -> str:
    """Return where the cgroups of version 2 are mounted; "" if nowhere."""
    mounts = Path("/proc/self/mountinfo")
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        mounted, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return mounted.split()[4]
    return ""
