"""Make a call of AWS as patiently as a check may."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sidecar.aws.calls import backoff
from sidecar.examination.patience import AWS_ERRORS, AWS_TRIES
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def call_aws(call: Callable[[float], Awaitable[T]], seconds: float) -> T:
    """Make a call of AWS within `seconds`, again after errors that may pass.

    `call` is given the seconds for one try. Raises AwsError.
    """
    return await call_with_retries(
        lambda: call(seconds / AWS_TRIES), backoff(), tries=AWS_ERRORS, seconds=seconds
    )
