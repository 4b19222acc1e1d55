"""Log each retry as an event, with the launcher's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import stamina.instrumentation
import structlog

from launcher.errors import describe

if TYPE_CHECKING:
    from stamina.instrumentation import RetryDetails

log = structlog.get_logger()


def log_retries() -> None:
    """Log the retries of this process, in place of the library's own lines."""
    stamina.instrumentation.set_on_retry_hooks([_log_retry])


def _log_retry(details: RetryDetails) -> None:
    log.warning(
        "retry.scheduled",
        attempt=details.retry_num,
        seconds=round(details.wait_for, 2),
        reason=describe(details.caused_by),
    )
