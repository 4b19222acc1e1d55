"""Run Windows programs under wine: start them, stop them as Windows does, see what is left.

    with Wine(toolchain.create(), folder) as wine:
        program = wine.start([wine.python("3.11"), "-m", "sidecar", "run"], env={...})
        program.wait_for_line("runner.idle")
        wine.send_event(program.pid, CTRL_SHUTDOWN)
        assert program.wait() == 0

Every wait has a time limit, and nothing that was started outlives the block.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.engines import roots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.windows.toolchain import Toolchain

CTRL_C, CTRL_BREAK, CTRL_CLOSE, CTRL_LOGOFF, CTRL_SHUTDOWN = 0, 1, 2, 5, 6
NEW_CONSOLE, NEW_PROCESS_GROUP, NO_WINDOW = 0x10, 0x200, 0x8000000
TIMEOUT = 180.0
"""Seconds that any wait takes at most, if the caller names no other limit."""
GONE_SECONDS = 60.0
"""Seconds that a process which has ended may still be in a snapshot."""
INSIDE = Path(__file__).with_name("inside.py")
SERVICES = frozenset(
    f"{name}.exe"
    for name in ("services", "winedevice", "plugplay", "svchost", "rpcss", "explorer", "conhost")
)
"""What wine starts by itself."""


class WineError(RuntimeError):
    """Windows refuses what was asked for, or it does not come in time."""


class Process(NamedTuple):
    """A process of a Toolhelp snapshot."""

    pid: int
    parent: int
    name: str


class Finished(NamedTuple):
    """The end of a program."""

    code: int
    """Unsigned, with all its 32 bits."""
    output: str
    """Of both streams."""


def translate(path: Path | str) -> str:
    """Return the name of a path of this machine in Windows."""
    return str(PureWindowsPath(f"Z:{Path(path).absolute()}"))


@dataclass
class Program:
    """A running program; `lines` is what it has printed so far."""

    pid: int = 0
    lines: list[str] = field(default_factory=list)
    code: int | None = None
    """Unsigned, with all its 32 bits; None while it runs."""
    _closed: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_line(self, *parts: str, timeout: float = TIMEOUT) -> str:
        """Return the first line that holds all of `parts`. Raises WineError."""

        def find() -> str | None:
            return next((x for x in self.lines if all(part in x for part in parts)), None)

        with self._changed:
            self._changed.wait_for(lambda: find() is not None or self._closed, timeout)
            line = find()
        if line is None:
            raise WineError(f"no line with {parts}: {self.output}")
        return line

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Return the exit code, when it has ended. Raises WineError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.code is not None, timeout):
                raise WineError(f"still runs: {self.output}")
        assert self.code is not None
        return self.code

    def wait_for_output(self, timeout: float = TIMEOUT) -> str:
        """Return all it has printed, when every process is gone that holds its output open."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed, timeout):
                raise WineError(f"its output is still held open: {self.output}")
        return self.output

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "\n".join(self.lines)

    def _take(self, message: Mapping[str, Any]) -> None:
        with self._changed:
            if "code" in message:
                self.code = message["code"]
            elif message["line"] is None:
                self._closed = True
            else:
                self.lines.append(message["line"])
            self._changed.notify_all()


class Wine:
    """A Windows of its own, in `prefix`: no process of another one can be seen or reached."""

    def __init__(self, tools: Toolchain, prefix: Path) -> None:
        self._tools, self._prefix = tools, prefix
        self._numbers = itertools.count(1)
        self._answers: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self._programs: dict[int, Program] = {}
        self._turn = threading.Lock()
        self._ready = threading.Event()
        self._trouble: list[str] = []
        self.own_pid = 0

    # --- what tests call --------------------------------------------------------------------------

    def python(self, version: str) -> str:
        """Return the path of `python.exe`, as Windows has it."""
        return translate(self._tools.pythons[version] / "python.exe")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        timeout: float = TIMEOUT,
    ) -> Finished:
        """Run a program to its end, which is a violent one after `timeout`. Raises WineError."""
        until = monotonic() + timeout
        program = self.start(argv, env=env, cwd=cwd)
        try:
            program.wait(timeout)
            program.wait_for_output(max(1.0, until - monotonic()))
        except WineError:
            if program.code is None:
                self.terminate(program.pid)
            raise
        return Finished(program.wait(), program.output)

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        flags: int = 0,
    ) -> Program:
        """Start a program without standard input; `flags` are those of CreateProcess.

        Its environment is that of wine and `env`, where None removes a variable.
        """
        number, program = next(self._numbers), Program()
        self._programs[number] = program
        where = {"cwd": translate(cwd or self._prefix), "env": dict(env or {}), "flags": flags}
        program.pid = self._call("start", number=number, argv=list(argv), **where)
        return program

    def send_event(self, pid: int, event: int) -> None:
        """Deliver a console event to one process. Raises WineError if there is none."""
        self._call("send_event", pid=pid, event=event)

    def terminate(self, pid: int, code: int = 1) -> None:
        """End a process as TerminateProcess does. Raises WineError if there is none."""
        self._call("terminate", pid=pid, code=code)

    def wait_for_end(self, pid: int, timeout: float = TIMEOUT) -> int:
        """Return the exit code of any process. Raises WineError if there is none, or too late."""
        code = self._call("wait", pid=pid, timeout=timeout, within=timeout + TIMEOUT)
        if code is None:
            raise WineError(f"process {pid} still runs")
        return int(code)

    def list_processes(self) -> list[Process]:
        """Return all processes but wine's own services and this harness."""
        found = [Process(*each) for each in self._call("list_processes")]
        return [x for x in found if x.name.lower() not in SERVICES and x.pid != self.own_pid]

    def find_left(self, *kept: int) -> list[Process]:
        """Return the processes that run on, but those `kept`; one that has ended has time to go."""
        until = monotonic() + GONE_SECONDS
        while left := [each for each in self.list_processes() if each.pid not in kept]:
            if monotonic() > until:
                break
            sleep(0.05)
        return left

    def command(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Return this machine's command, in `environment`, for a program; its code has 8 bits."""
        return self._command("wine64", *argv)

    # --- its life ---------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Start it, which takes about five seconds with a new prefix."""
        self._prefix.mkdir(parents=True, exist_ok=True)
        program = str(self._tools.pythons["3.11"] / "python.exe")
        self._process = subprocess.Popen(
            self._command("wine64", program, "-I", "-B", translate(INSIDE)),
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._prefix,
        )
        self._readers = [threading.Thread(target=x) for x in (self._read, self._read_trouble)]
        for reader in self._readers:
            reader.start()
        if not self._ready.wait(TIMEOUT) or not self.own_pid:
            self.__exit__()
            raise WineError(f"wine does not start: {''.join(self._trouble)}")
        return self

    def __exit__(self, *_: object) -> None:
        """End all of its processes, and remove its files."""
        try:
            subprocess.run(
                self._command("wineserver64", "-k"),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=TIMEOUT,
            )
        finally:
            with self._process:  # closes the pipes
                self._process.kill()
                for reader in self._readers:
                    reader.join(TIMEOUT)
            shutil.rmtree(self._prefix, ignore_errors=True)

    def _command(self, program: str, *arguments: str) -> tuple[str, ...]:
        return roots.enter(self._tools.wine, f"/usr/lib/wine/{program}", *arguments)

    @property
    def environment(self) -> dict[str, str]:
        """What wine itself needs."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._prefix),
            "LANG": "C.UTF-8",
            "WINEPREFIX": str(self._prefix),
            "WINEDEBUG": "-all",
            # Neither .NET nor a browser: wine would ask for its own ones on a display.
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
            "XDG_RUNTIME_DIR": str(self._prefix),
            # No agent asks this machine's own network what machine it is.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    # --- lines ------------------------------------------------------------------------------------

    def _call(self, do: str, *, within: float = TIMEOUT, **arguments: Any) -> Any:
        call, answer = next(self._numbers), SimpleQueue[dict[str, Any]]()
        self._answers[call] = answer
        line = json.dumps({"call": call, "do": do, **arguments}).encode() + b"\n"
        assert self._process.stdin
        try:
            with self._turn:
                self._process.stdin.write(line)
                self._process.stdin.flush()
            found = answer.get(timeout=within)
        except (OSError, Empty) as error:
            raise WineError(f"wine does not answer: {''.join(self._trouble)}") from error
        finally:
            del self._answers[call]
        if "error" in found:
            raise WineError(f"{do}: {found['error']}")
        return found["value"]

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            message = json.loads(line)
            if "ready" in message:
                self.own_pid = message["ready"]
                self._ready.set()
            elif "call" in message:
                if (answer := self._answers.get(message["call"])) is not None:
                    answer.put(message)
            else:
                self._programs[message["program"]]._take(message)
        self._ready.set()

    def _read_trouble(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._trouble.append(line.decode(errors="replace"))
