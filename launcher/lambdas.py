"""The handlers of the Lambda functions. Each imports what it uses when it is first called.

`webhook` takes deliveries from a function URL, an HTTP API or a load balancer. `work` takes batches
of the queue, whose event source mapping must have ReportBatchItemFailures.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.batch import Batches
    from launcher.demand.function import Function

_function: Function | None = None
_batches: Batches | None = None


def webhook(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer one delivery of GitHub's."""
    global _function  # noqa: PLW0603  one for each container, as Lambda's handlers are
    del context
    if _function is None:
        from launcher.demand.function import Function

        _function = Function(os.environ)
    return _function.answer(event)


def work(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Handle one batch of messages; return those that are to come again."""
    global _batches  # noqa: PLW0603
    if _batches is None:
        from launcher.batch import Batches

        _batches = Batches(os.environ)
    return _batches.work(event, context)
