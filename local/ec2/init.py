"""Be a machine from its start to its end: run its user data, and play the systemd that they call.

`python init.py FOLDER UNITS`, a program of its own for each machine: `FOLDER` has its user data and
what its image sets, `UNITS` is where units are written. Standard output is the console. Of systemd
it knows what starts one service: its environment, its end, what runs after that, and that it powers
the machine off. It ends when the machine is off. SIGTERM is the shutdown that EC2 begins.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    raise NotImplementedError("cannot run user data: this needs POSIX")

STOP_SECONDS = 90.0
"""Seconds that a service has for its end where its unit says nothing."""
CONSOLE_SECONDS = 10.0
"""Seconds for what was written last to the console, where something still holds it open."""


class Init:
    """The first program of a machine."""

    def __init__(self, folder: Path, units: Path) -> None:
        self._folder = folder
        self._units = units
        self._image = json.loads((folder / "image.json").read_text())
        self._stops = False
        """True once the machine goes off. No Event: a signal that comes while its lock is held, by
        whoever waits for it, would wait for ever."""
        self._child: subprocess.Popen[bytes] | None = None
        self._console = self._open_console()

    def live(self) -> None:
        """Run the user data, then the service that they start, until the machine is off."""
        signal.signal(signal.SIGTERM, self._stop)
        self._run([str(self._folder / "user-data")], {})
        if (unit := self._find_started()) is not None and not self._stops:
            self._run_service(self._read_unit(unit))
        while not self._stops and "poweroff" not in self._calls():
            time.sleep(0.2)  # without a poweroff nobody but EC2 ends it
        os.close(self._console)
        self._relay.join(CONSOLE_SECONDS)

    def _stop(self, *_: object) -> None:
        self._stops = True
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.terminate()

    # -- the console -------------------------------------------------------------------------

    def _open_console(self) -> int:
        """Pass on what is written to the console, line by line."""
        path = self._folder / "console"
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(path, os.O_WRONLY)
        os.set_blocking(reader, True)
        self._relay = threading.Thread(target=_pass_on, args=(reader,), daemon=True)
        self._relay.start()
        return writer

    # -- systemd -----------------------------------------------------------------------------

    def _calls(self) -> str:
        """Return what systemctl was called with, a line for each call."""
        path = self._folder / "calls"
        return path.read_text() if path.exists() else ""

    def _find_started(self) -> str | None:
        started = [line.split() for line in self._calls().splitlines()]
        found = [each[-1] for each in started if each[0] == "start" and each[-1].endswith("ice")]
        return found[-1] if found else None

    def _read_unit(self, name: str) -> dict[str, str]:
        lines = (self._units / name).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def _run_service(self, unit: dict[str, str]) -> None:
        """Run a service to its end; then its last command, which also runs after a kill."""
        seconds = float(unit.get("TimeoutStopSec", STOP_SECONDS))
        given = dict([unit["Environment"].split("=", 1)]) if "Environment" in unit else {}
        code = self._run(shlex.split(unit["ExecStart"]), given, seconds)
        how = {"EXIT_CODE": "exited", "EXIT_STATUS": str(code)}
        if code < 0:
            name = signal.Signals(-code).name.removeprefix("SIG")
            how = {"EXIT_CODE": "killed", "EXIT_STATUS": name}
        self._child = None
        self._run(shlex.split(unit["ExecStopPost"]), {**given, **how})
        if (unit.get("FailureAction") if code else unit.get("SuccessAction")) == "poweroff":
            self._stops = True

    def _run(self, command: list[str], given: dict[str, str], patience: float = 10.0) -> int:
        """Run a command to its end; after a stop it has so many seconds. Its children end too."""
        env = {**os.environ, **given, **self._image}
        child = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
            start_new_session=True,
        )
        self._child = child
        while child.poll() is None and not self._stops:
            with suppress(subprocess.TimeoutExpired):
                child.wait(1.0)  # a stop ends it, and so this
        try:
            return child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)


def _pass_on(reader: int) -> None:
    with os.fdopen(reader, "rb") as lines, suppress(OSError):
        for line in lines:
            sys.stdout.buffer.write(line if line.endswith(b"\n") else line + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    Init(Path(sys.argv[1]), Path(sys.argv[2])).live()
