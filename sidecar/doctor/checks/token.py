"""Check the registration token: whether it may be read and decrypted, and what it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar import values
from sidecar.aws.calls import AwsError
from sidecar.errors import SidecarError
from sidecar.examination.aws_errors import explain_aws
from sidecar.examination.finding import Finding, failed, ok, unknown

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup
    from sidecar.doctor.stored_token import StoredToken
    from sidecar.tokens.value import RegistrationToken

LIFETIME = 3600.0
"""Seconds for which GitHub accepts a registration token."""


async def check(setup: Setup) -> list[Finding]:
    """Read the token as a life would, and leave it where it is."""
    name = setup.settings.token_parameter or ""
    if (values.TASK in name or values.INSTANCE in name) and not (await setup.facts()).id:
        text = f"the name {name} holds the id of a task or a machine, which is not known here"
        return [unknown(text, "examine it in the task, or on the machine")]
    try:
        found = await setup.token()
    except AwsError as error:
        return [explain_aws(error)]
    except SidecarError as error:
        if isinstance(error.__cause__, AwsError):  # with its own words around it
            return [explain_aws(error.__cause__)]
        change = "let the launcher write a form that the reference names (SIDECAR_TOKEN_PARAMETER)"
        return [failed(str(error), change)]
    if found is None:
        return [ok("no launcher stores a token: GitHub is asked for one")]
    return [_judge(found)]


def _judge(found: StoredToken) -> Finding:
    kind = _name_kind(found.token)
    if found.modified is None:
        return ok(f"{found.where} holds {kind}; how old it is cannot be seen")
    age = (datetime.now(UTC) - found.modified).total_seconds()
    text = f"{found.where} holds {kind}, written {_show(age)} ago"
    if found.token.token is not None and age >= LIFETIME:
        return failed(text, "start the task sooner: GitHub accepts such a token for an hour")
    return ok(text)


def _name_kind(token: RegistrationToken) -> str:
    return "a just-in-time configuration" if token.jit is not None else "a registration token"


def _show(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 6 * 3600 else f"{seconds / 3600:.0f} h"
