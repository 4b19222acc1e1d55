"""Log the last lines of the runner's diagnostic logs after a failure.

The runner writes `_diag/Runner_<time>-utc.log` for each start of its program and
`_diag/Worker_<time>-utc.log` for each job (actions/runner: HostContext, HostTraceListener). A
job's user owns that folder: its files are untrusted text, read up to a limit and never through a
link.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import Exit, RegistrationError
from sidecar.log import masks
from sidecar.log.lines import Lines
from sidecar.log.masks import mask_likely_secrets
from sidecar.runner import age

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.runner.folder import RunnerFolder
    from sidecar.runner.listener import Listener
    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

NAME = r"{kind}_\d{{8}}-\d{{6}}-utc\.log"
LAST_BYTES = 32 * 1024
LAST_LINES = 25
LINE_BYTES = 400
SLACK = 2.0
"""Seconds: names have whole seconds, and a file system's clock may be a little late."""

FRAME = re.compile(r"\] WRITE LINE:[ |#-]*$")
"""A line of the frame that the program draws around its output."""
ADVICE = {
    Exit.RUNNER: "the event runner.diagnostics_read holds what it wrote last",
    Exit.DEPRECATED: "build the image anew with the newest actions/runner, at least once a month",
    Exit.CONFLICT: "does another task use the same SIDECAR_NAME or just-in-time configuration?",
}
"""What to do, for each exit code that is the listener's own failure."""


class Diagnostics:
    """The diagnostic logs of one life; each is logged once."""

    def __init__(self, folder: RunnerFolder) -> None:
        self._runner_folder = folder
        self._folder = folder.path / "_diag"
        self._private = (folder.path if folder.user is None else folder.private) / "_diag"
        self._since = time.time() - SLACK
        self._logged: set[str] = set()

    def log_last_lines(self, verb: str, *kinds: str) -> None:
        """Log the last lines of the newest log of each kind, after `verb` has failed."""
        folder = self._folder if verb == "run" else self._private
        for kind in kinds or ("Runner",):
            fits = re.compile(NAME.format(kind=kind)).fullmatch
            found = host.read_newest(folder, fits, LAST_BYTES, self._since)
            if found is None or found[0] in self._logged:
                continue
            name, content = found
            self._logged.add(name)
            if lines := last_lines(content):
                log.warning("runner.diagnostics_read", verb=verb, file=f"_diag/{name}", lines=lines)

    @contextmanager
    def log_on_failure(self, verb: str) -> Iterator[None]:
        """Log what the runner's program wrote, if the block raises RegistrationError."""
        try:
            yield
        except RegistrationError:
            self.log_last_lines(verb)
            raise

    def log_after_cleanup(self, cleanup_stack: CleanupStack) -> None:
        """Log what `remove` wrote, if the runner could not be deregistered."""
        if "runner" in cleanup_stack.not_done:
            self.log_last_lines("remove")

    def explain_failure(self, listener: Listener, code: Exit) -> str | None:
        """Return in a line why the listener failed, and log what it wrote; None if it did not.

        An end that the agent decided (a stop, a limit) is not a failure of the listener.
        """
        if code not in ADVICE:
            return None
        self.log_last_lines("run", "Runner", *(("Worker",) if listener.had_job else ()))
        when = "while it had a job" if listener.had_job else "before it had a job"
        version = f" {listener.version}" if listener.version else ""
        built = age.days_since_build(self._runner_folder)
        old = f" (built {built} days ago)" if built is not None and code is Exit.DEPRECATED else ""
        last = listener.connect_error if listener.session_limit_reached else None
        because = f": {last}" if last else ""
        return (
            f"the runner's listener{version}{old} ended {when} with exit code "
            f"{listener.ended.result()}: {listener.outcome.meaning}{because} ({ADVICE[code]})"
        )


def last_lines(content: bytes) -> list[str]:
    """Return the last lines of a log: limited in size, escaped and masked."""
    whole = content.partition(b"\n")[2] if len(content) >= LAST_BYTES else content
    found: list[str] = []
    lines = Lines(found.append, LINE_BYTES)
    # Masked before it is cut: half a token is not recognized.
    text = masks.mask_known_secrets(whole.decode("utf-8", "replace"))
    kept = [line for line in text.splitlines() if not FRAME.search(line)]
    for line in kept[-LAST_LINES:]:
        lines.feed(mask_likely_secrets(line).encode() + b"\n")
    return found
