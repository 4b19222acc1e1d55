"""Print lines, and write the diagnostic log beside them."""

import os
import time


class Terminal:
    """Lines to stdout and stderr, traces to `_diag/<kind>_<time>-utc.log`."""

    def __init__(self, root: str, kind: str) -> None:
        self._tag = kind.upper()
        self._echo = os.environ.get("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT", "").lower() in (
            "1",
            "true",
        )
        self._log = _open_log(root, kind)

    def line(self, text: str = "") -> None:
        """Print a line."""
        self.trace("Terminal", f"WRITE LINE: {text}")
        _write(1, text + "\n")

    def stamp(self, text: str) -> None:
        """Print a line that begins with the time, as .NET's `u` format has it."""
        self.line(f"{now()}: {text}")

    def success(self, text: str) -> None:
        """Print the tick and, separately, its text."""
        _write(1, "√ ")
        _write(1, text + "\n")

    def section(self, text: str) -> None:
        """Print a heading."""
        _write(1, f"\n# {text}\n\n")

    def error(self, text: str) -> None:
        """Print a line to stderr."""
        self.trace("Terminal", f"WRITE ERROR: {text}")
        _write(2, text + "\n")

    def trace(self, part: str, text: str, level: str = "INFO") -> None:
        """Write to the diagnostic log, and to stdout if that was asked for."""
        if self._echo:
            _write(1, f"[{self._tag} {now()} {level} {part}] {text}\n")
        if self._log >= 0:
            _write(self._log, f"[{now()} {level} {part}] {text}\n")


def now() -> str:
    """Give the time as in `2026-01-22 12:13:35Z`."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())


def _open_log(root: str, kind: str) -> int:
    folder = os.path.join(root, "_diag")
    name = f"{kind}_{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-utc.log"
    try:
        os.makedirs(folder, exist_ok=True)
        binary = getattr(os, "O_BINARY", 0)  # Windows
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | binary
        return os.open(os.path.join(folder, name), flags, 0o644)
    except OSError:
        return -1  # a listener that may not write there still works


def _write(descriptor: int, text: str) -> None:
    data = text.replace("\n", os.linesep).encode("utf-8", "replace")
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass  # nobody reads any more
