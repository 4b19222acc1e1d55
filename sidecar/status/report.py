"""The parts of one life that health server, metrics and final event report about."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sidecar.phase import Phase
from sidecar.shutdown.cleanup import CleanupStack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.relay import Relay
    from sidecar.runner.listener import Listener
    from sidecar.status.usage import JobUsage


class Report:
    """Holds the parts of one life; the life fills it in as it goes on."""

    def __init__(self) -> None:
        self.phase = Phase()
        self.cleanup_stack = CleanupStack()
        self.listener: Listener | None = None
        self.relay: Relay | None = None
        self.usage: JobUsage | None = None
        """What the job used; None where nothing tells it."""
        self.retries: Counter[str] = Counter()
        """The number of retries, by the kind of error."""
        self.error: str | None = None
        """What went wrong, if it decided how the life ended."""

    def count_credentials(self) -> Mapping[str, int]:
        """Return the answers with credentials so far, by rule; "" without rules."""
        return self.relay.counts.rules if self.relay is not None else {}

    @property
    def ready(self) -> bool:
        """Whether the runner waits for a job or has one."""
        return self.listener is not None and self.listener.ready
