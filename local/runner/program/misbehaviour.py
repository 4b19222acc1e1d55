"""Read from `.misbehave.json` how to misbehave; without that file the program is honest."""

import json
import os
import sys
import time
from typing import Any

from . import codes

FILE = ".misbehave.json"
_SECONDS = {
    "configure": (1.0, 1.9),
    "run": (0.65, 1.35),
    "remove": (0.75, 1.5),
    "worker": (0.5, 0.5),
    "end": (1.2, 1.2),
    "exit": (0.2, 0.2),
}
"""Measured: with a `.config` in the user's home that can be written, and without."""


class Misbehaviour:
    """The knobs, and the counts of what was done already."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._knobs: dict[str, Any] = {}
        path = os.path.join(root, FILE)
        if not os.path.exists(path):  # the agent may call the program in a folder of its own
            path = os.path.join(os.path.dirname(root), FILE)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self._knobs = json.load(file)

    def seconds(self, name: str, otherwise: float) -> float:
        """Give a duration; all of them shrink or grow with `time_scale`."""
        scale = float(self._knobs.get("time_scale", 1))
        return float(self._knobs[name]) if name in self._knobs else otherwise * scale

    def dawdle(self, what: str) -> None:
        """Be as slow as the real program was measured, times the knob `slowness` (0)."""
        from . import system

        cached = os.access(system.find_caches(), os.W_OK)
        time.sleep(float(self._knobs.get("slowness", 0)) * _SECONDS[what][0 if cached else 1])

    def knob(self, name: str) -> Any:
        """Give a knob as it was written; None where it was not."""
        return self._knobs.get(name)

    def read_kind(self, command: str) -> str:
        """Give how `command` is to misbehave this time, or "".

        A knob is a word, or {"kind": word, "count": n}: honest again after n times.
        """
        knob = self._knobs.get(command)
        if not isinstance(knob, dict):
            return str(knob or "")
        kind, count = str(knob.get("kind", "")), int(knob.get("count", 1))
        return kind if self._done(command) < count else ""

    def spoil_event(self, path: str) -> None:
        """Do to the event's file what the knob `event_file` says, as a job's daemon could."""
        kind = self._knobs.get("event_file")
        if kind == "empty":
            os.truncate(path, 0)
        elif kind is not None:
            os.replace(path, f"{path}.elsewhere")
            if kind == "link":
                os.symlink(f"{path}.elsewhere", path)
            elif kind == "pipe" and sys.platform != "win32":
                os.mkfifo(path)

    def _done(self, command: str) -> int:
        folder = os.path.join(self._root, "_diag")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f".misbehaved-{command}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            done = os.fstat(descriptor).st_size
            os.write(descriptor, b".")
            return done
        finally:
            os.close(descriptor)


def hang() -> None:
    """Do nothing until killed."""
    while True:
        time.sleep(3600)


def crash() -> None:
    """Die as .NET does of an exception that nobody caught."""
    if sys.platform == "win32":
        codes.leave(codes.CRASHED)
    import resource
    import signal

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGABRT)


def leave(kind: str) -> None:
    """Exit at once if `kind` is `exit:N`."""
    if kind.startswith("exit:"):
        codes.leave(int(kind[5:]))
