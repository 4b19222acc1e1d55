"""Credentials of the separate job role: assumed with the agent's own, one hour at a time.

A role that assumes another ("role chaining") gets one hour and no more, whatever the role's own
maximum is (AWS IAM User Guide, "Methods to assume a role"). The relay refreshes these credentials
as it does all others.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sidecar.aws.calls import STS, AwsError, Call
from sidecar.aws.own_session import make_session
from sidecar.aws.session import ServiceClient
from sidecar.relay import sts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.aws.agent_credentials import AgentCredentials
    from sidecar.aws.container_credentials import Credentials, Fetch

SECONDS = 3600
"""How long each session lives: the most that role chaining allows."""
NAME_LENGTH = 64
"""Characters that a session's name may have; it has at least two."""

_SETTINGS = "SIDECAR_JOB_ROLE_ARN, SIDECAR_JOB_POLICY"
_REFUSALS = sts.make_refusals("SIDECAR_JOB_POLICY")


@dataclass(frozen=True, slots=True)
class Terms:
    """The rights that jobs get: a role, a policy, or both."""

    role_arn: str | None
    """SIDECAR_JOB_ROLE_ARN; None: the task role itself, limited by the policy."""
    policy: str | None = field(repr=False)
    """SIDECAR_JOB_POLICY, as JSON: what the session may do at most."""
    region: str | None
    """Of the STS that is asked; None leaves it to the AWS library."""


def session_name(runner: str) -> str:
    """Return a session name for the runner; CloudTrail shows it with all that a job did."""
    name = re.sub(r"[^\w+=,.@-]", "-", runner, flags=re.ASCII)[:NAME_LENGTH]
    return name if len(name) >= 2 else f"job-{name}"


class JobRole:
    """A source of credentials for the relay: `sts:AssumeRole` with the agent's own credentials.

    It asks nothing until it has the runner's name, which is the session's name too.
    """

    def __init__(self, terms: Terms, own: AgentCredentials | None) -> None:
        self._terms = terms
        self._own = own
        self._session = own.session if own is not None else make_session()
        self._name = ""
        self._named = asyncio.Event()

    def set_runner(self, name: str) -> None:
        """Set the name of the runner that jobs run on; then the role is assumed."""
        self._name = session_name(name)
        self._named.set()

    @property
    def where(self) -> str:
        """Name this source in a log."""
        return "sts:AssumeRole"

    @property
    def advice(self) -> str:
        """Say what to change when it does not work."""
        return "check SIDECAR_JOB_ROLE_ARN and SIDECAR_JOB_POLICY; jobs never get the task role"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Fetch]:
        """Wait for the runner's name, then yield the function that fetches credentials."""
        await self._named.wait()
        async with ServiceClient(STS, self._terms.region, lambda: self._session) as client:
            yield partial(self._fetch, client)

    async def _fetch(self, client: ServiceClient, now: float, timeout: float) -> Credentials:
        call = Call(
            f"cannot assume {self._role or 'the task role'} for jobs",
            STS,
            "sts:AssumeRole on it, and a trust policy of the role that names the task role",
            _SETTINGS,
            _REFUSALS,
            quotes_aws=False,
        )
        return await sts.ask(
            call,
            partial(self._assume, client),
            lambda: self._role,
            self.where,
            now=now,
            timeout=timeout,
        )

    @property
    def _role(self) -> str | None:
        if self._terms.role_arn is not None:
            return self._terms.role_arn
        return self._own.role_arn if self._own is not None else None

    async def _assume(self, client: ServiceClient) -> dict[str, Any]:
        connected = await client.connect()  # the endpoint names the task role with its credentials
        if self._role is None:
            raise AwsError(
                "cannot find the name of the role that SIDECAR_JOB_POLICY limits (set "
                "SIDECAR_JOB_ROLE_ARN, to the task role's ARN if need be)"
            )
        request: dict[str, Any] = {
            "RoleArn": self._role,
            "RoleSessionName": self._name,
            "DurationSeconds": SECONDS,
        }
        if self._terms.policy is not None:
            request["Policy"] = self._terms.policy
        answer: dict[str, Any] = await connected.assume_role(**request)
        return answer
