"""Ask AWS whose credentials these are: sts:GetCallerIdentity, which no policy can refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.aws.calls import STS, Call
from sidecar.aws.session import ServiceClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.session import AioSession

_SESSION = re.compile(
    r"arn:(?P<partition>[^:]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of credentials."""

    arn: str
    """Of the session of a role, or of a user."""

    @property
    def role_arn(self) -> str | None:
        """The ARN of the role, without its path, which a session's ARN does not tell."""
        found = _SESSION.match(self.arn)
        return found.expand(r"arn:\g<partition>:iam::\g<account>:role/\g<role>") if found else None


async def read_identity(
    region: str | None, make_session: Callable[[], AioSession], timeout: float | None = None
) -> Identity:
    """Ask STS in `region` who the session's credentials belong to. Raises AwsError."""
    call = Call("cannot ask who this is", STS, "sts:GetCallerIdentity", "AWS_REGION")
    async with ServiceClient(STS, region, make_session) as sts:

        async def read() -> Identity:
            client = await sts.connect()
            return Identity(str((await client.get_caller_identity())["Arn"]))

        return await call.run(read, timeout)
