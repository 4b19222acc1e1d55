"""What there is to tell of a life: filled in as it goes on, read by health, metrics and record."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sidecar.phase import Phase
from sidecar.shutdown.cleanup import CleanupStack

if TYPE_CHECKING:
    from sidecar.relay import Relay
    from sidecar.runner.listener import Listener


class Report:
    """The parts of one life, for whoever asks about it."""

    def __init__(self) -> None:
        self.phase = Phase()
        self.cleanup_stack = CleanupStack()
        self.listener: Listener | None = None
        self.relay: Relay | None = None
        self.retries: Counter[str] = Counter()
        """How often something was tried again, by the kind of error."""
        self.error: str | None = None
        """What went wrong, if that decided the life's end."""

    @property
    def ready(self) -> bool:
        """Whether the runner can take a job or has one."""
        return self.listener is not None and self.listener.ready
