"""The handlers of the Lambda functions. Each imports what it uses when it is first called.

`webhook` takes deliveries from a function URL, an HTTP API or a load balancer. `work` takes batches
of the queue, whose event source mapping must have ReportBatchItemFailures. `api` answers the
requests of callers that start runners. `sweep` ends what nobody needs; a schedule calls it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.api_function import ApiFunction
    from launcher.batch import Batches
    from launcher.demand.function import Function
    from launcher.sweep_function import SweepFunction

_function: Function | None = None
_batches: Batches | None = None
_api: ApiFunction | None = None
_sweep: SweepFunction | None = None


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


def api(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answer one request of a caller that starts runners."""
    global _api  # noqa: PLW0603
    if _api is None:
        from launcher.api_function import ApiFunction

        _api = ApiFunction(os.environ)
    return _api.answer(event, context)


def sweep(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Sweep once."""
    global _sweep  # noqa: PLW0603
    del event
    if _sweep is None:
        from launcher.sweep_function import SweepFunction

        _sweep = SweepFunction(os.environ)
    return _sweep.sweep(context)
