"""Tell whether the token parameter of a task or machine is there. Its value is never read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.explain.entries import Entry, Mark, Source, read_moment, seconds
from sidecar.aws.calls import SSM, Call, backoff
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launcher.explain.case import Case, Home
    from sidecar.aws.session import ServiceClient

TRIES = 3
HOUR = 3600.0
"""Seconds for which GitHub accepts a token."""


async def read_metadata(client: ServiceClient, name: str) -> Mapping[str, Any] | None:
    """Read what SSM knows of a parameter beside its value; None: there is none. Raises AwsError."""

    async def describe() -> Mapping[str, Any] | None:
        connected = await client.connect()
        wanted = [{"Key": "Name", "Option": "Equals", "Values": [name]}]
        answer = await connected.describe_parameters(ParameterFilters=wanted)
        return answer["Parameters"][0] if answer["Parameters"] else None

    action = f"cannot ask SSM about the token parameter {name}"
    call = Call(action, SSM, "ssm:DescribeParameters", "LAUNCHER_PARAMETER_PREFIX")
    return await call_with_retries(lambda: call.run(describe), backoff(), tries=TRIES)


def tell(case: Case, home: Home) -> Iterator[Entry]:
    """Yield when the token was written, and whether it is still there."""
    if not home.token_asked or not home.is_current:
        return
    own = identity.task_id(home.place)
    if home.token is None:
        read = any(event.name == "token.read" for event in home.events)
        why = "the agent has read it" if read else "it was never written, or was read and deleted"
        text = f"there is no token parameter {home.parameter}: {why}"
        yield Entry(Source.SSM, text, case.now, task=own)
        return
    written = read_moment(home.token.get("LastModifiedDate"))
    version = home.token.get("Version")
    text = f"the token parameter {home.parameter} was written (version {version})"
    yield Entry(Source.SSM, text, written, task=own)
    age = case.now - written if written is not None else 0.0
    if age > HOUR:
        text = f"the token is {seconds(age)} old: GitHub accepts one for an hour"
        advice = "nobody has read it: look at the task, or end it"
        yield Entry(Source.SSM, text, case.now, Mark.FAILED, advice, task=own)
        return
    yield Entry(Source.SSM, "it is there: unread, or not deleted yet", case.now, task=own)
