"""What the runner's own diagnostic logs say last, beside an error that its output hardly explains.

The runner writes `_diag/Runner_<time>-utc.log` for each start of its program and
`_diag/Worker_<time>-utc.log` for each job (actions/runner: HostContext, HostTraceListener). A
job's user owns that folder: what stands there is read like any outsider's text, at most so much
of it, and never through a link.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import Exit, RegistrationError
from sidecar.log import events
from sidecar.log.lines import Lines
from sidecar.log.masks import masked
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
"""Seconds: names hold whole ones, and a file system's clock may lag a little."""

SILENT = re.compile(r"\] WRITE LINE:[ |#-]*$")
"""The frame that the program draws around its words."""
ADVICE = {
    Exit.RUNNER: "the event runner.diagnostics_read holds what it wrote last",
    Exit.DEPRECATED: "build the image anew with the newest actions/runner, at least once a month",
    Exit.CONFLICT: "does another task use the same SIDECAR_NAME or just-in-time configuration?",
}
"""What to do about the ends that are the listener's own failures."""


class Diagnostics:
    """The diagnostic logs of one life; each is told once."""

    def __init__(self, root: RunnerFolder) -> None:
        self._root = root
        self._folder = root.path / "_diag"
        self._since = time.time() - SLACK
        self._told: set[str] = set()

    def tell(self, verb: str, *kinds: str) -> None:
        """Log the last lines of the newest log of each kind, after `verb` has failed."""
        for kind in kinds or ("Runner",):
            fits = re.compile(NAME.format(kind=kind)).fullmatch
            found = host.read_newest(self._folder, fits, LAST_BYTES, self._since)
            if found is None or found[0] in self._told:
                continue
            name, content = found
            self._told.add(name)
            if lines := last(content):
                log.warning("runner.diagnostics_read", verb=verb, file=f"_diag/{name}", lines=lines)

    @contextmanager
    def failing(self, verb: str) -> Iterator[None]:
        """Tell what the runner's program wrote, should the block fail with its error."""
        try:
            yield
        except RegistrationError:
            self.tell(verb)
            raise

    def after_farewell(self, cleanup_stack: CleanupStack) -> None:
        """Tell what `remove` wrote, if the runner could not be taken away."""
        if "runner" in cleanup_stack.not_done:
            self.tell("remove")

    def of_listener(self, listener: Listener, code: Exit) -> str | None:
        """Return why the listener failed, in one line, and tell what it wrote; None if it did not.

        An end that the agent decided upon (a stop, a limit) is none of the listener's failures.
        """
        if code not in ADVICE:
            return None
        self.tell("run", "Runner", *(("Worker",) if listener.had_job else ()))
        when = "while it had a job" if listener.had_job else "before it had a job"
        version = f" {listener.version}" if listener.version else ""
        built = age.days(self._root)
        old = f" (built {built} days ago)" if built is not None and code is Exit.DEPRECATED else ""
        return (
            f"the runner's listener{version}{old} ended {when} with exit code "
            f"{listener.ended.result()}: {listener.outcome.meaning} ({ADVICE[code]})"
        )


def last(content: bytes) -> list[str]:
    """Return the last lines of a log's end, bounded, escaped and masked."""
    whole = content.partition(b"\n")[2] if len(content) >= LAST_BYTES else content
    found: list[str] = []
    lines = Lines(found.append, LINE_BYTES)
    # Masked before it is cut: half a token does not look like one.
    text = events.redacted(whole.decode("utf-8", "replace"))
    telling = [line for line in text.splitlines() if not SILENT.search(line)]
    for line in telling[-LAST_LINES:]:
        lines.feed(masked(line).encode() + b"\n")
    return found
