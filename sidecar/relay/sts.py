"""Ask STS for a session: one translation of its answers and refusals for every kind of proof."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sidecar.aws.calls import STS, AwsError, Call, TransientError
from sidecar.aws.container_credentials import (
    Credentials,
    RejectedError,
    UnavailableError,
    parse_credentials,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


def make_refusals(policy: str) -> dict[str, str]:
    """Return the errors that STS has for sessions; `policy` names the setting of the policy."""
    unreadable = f"STS cannot read the policy ({policy})"
    too_large = f"the policy and the tags are too large for a session ({policy})"
    return {
        "MalformedPolicyDocument": unreadable,
        "MalformedPolicyDocumentException": unreadable,
        "PackedPolicyTooLarge": too_large,
        "PackedPolicyTooLargeException": too_large,
        "RegionDisabledException": "STS is not active in this region (AWS_REGION)",
    }


async def ask(
    call: Call,
    work: Callable[[], Awaitable[Mapping[str, Any]]],
    role: Callable[[], str | None],
    where: str,
    *,
    now: float,
    timeout: float,
) -> Credentials:
    """Ask once for a session; `work` makes the call and returns STS's answer.

    `role` returns the role's ARN, once the answer is there. Raises UpstreamError.
    """
    try:
        answer = await call.run(work, timeout)
    except TransientError as error:
        raise UnavailableError(str(error)) from error
    except AwsError as error:
        raise RejectedError(str(error)) from error
    body = _write_body(answer.get("Credentials") or {}, role())
    return parse_credentials(body, now=now, where=where)


def _write_body(credentials: Mapping[str, Any], role: str | None) -> bytes:
    """Write the credentials of STS's answer as the ECS agent writes its own."""
    expires = credentials.get("Expiration")
    document = {
        "RoleArn": role,
        "AccessKeyId": credentials.get("AccessKeyId"),
        "SecretAccessKey": credentials.get("SecretAccessKey"),
        "Token": credentials.get("SessionToken"),
        "Expiration": expires.isoformat() if isinstance(expires, datetime) else expires,
    }
    return json.dumps(document).encode()


__all__ = ["STS", "ask", "make_refusals"]
