"""List the parameters of tokens in SSM, and delete them, ten with one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.tokens import DELETED, TRIES, read_description
from sidecar.aws.calls import SSM, Call, backoff
from sidecar.aws.session import ServiceClient
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeVar

    from launcher.sweep.pacing import Pace

    T = TypeVar("T")

PAGE = 50
"""Parameters that one call lists."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token's parameter, as a listing shows it: without its value."""

    name: str
    written: float
    """The time of its last change, in seconds since 1970."""
    version: int
    place: str
    """The ARN of its task, or the id of its task or machine; empty where nothing tells it."""
    scope: str = ""
    """The URL that its runner is registered at, where it tells that."""


class Parameters(ServiceClient):
    """A client of SSM that lists and deletes. Every call raises AwsError, in one of its kinds.

    `lists` and `deletes` keep both below the account's limits, which agents and workers share.
    """

    def __init__(self, region: str | None, lists: Pace, deletes: Pace) -> None:
        super().__init__(SSM, region)
        self._lists = lists
        self._deletes = deletes

    async def list_tokens(self, prefix: str, deployment: str | None) -> list[Token]:
        """List the parameters below a path; with `deployment` those that have its tag."""
        filters: list[dict[str, Any]] = [
            {"Key": "Path", "Option": "OneLevel", "Values": [prefix]},
        ]
        if deployment is not None:
            filters.append({"Key": f"tag:{identity.DEPLOYMENT_TAG}", "Values": [deployment]})
        found: list[Token] = []
        following: dict[str, str] = {}
        while True:
            await self._lists.wait()
            page = await self._list_page(prefix, filters, following)
            found += [_read_token(each) for each in page["Parameters"]]
            if not page.get("NextToken"):
                return found
            following = {"NextToken": page["NextToken"]}

    async def _list_page(
        self, prefix: str, filters: list[dict[str, Any]], following: Mapping[str, str]
    ) -> dict[str, Any]:
        async def work() -> dict[str, Any]:
            client = await self.connect()
            answer: dict[str, Any] = await client.describe_parameters(
                ParameterFilters=filters, MaxResults=PAGE, **following
            )
            return answer

        action = f"cannot list the parameters below {prefix}"
        return await self._call(action, "ssm:DescribeParameters", work)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete up to ten parameters; one that is gone is no error."""
        if not 1 <= len(names) <= DELETED:
            raise ValueError(f"one call deletes 1 to {DELETED} parameters")
        await self._deletes.wait()

        async def work() -> None:
            client = await self.connect()
            await client.delete_parameters(Names=list(names))

        action = f"cannot delete {len(names)} token parameters, as {names[0]}"
        await self._call(action, "ssm:DeleteParameters", work)

    async def _call(self, action: str, permission: str, work: Callable[[], Awaitable[T]]) -> T:
        call = Call(action, SSM, permission, "LAUNCHER_PARAMETER_PREFIX")
        return await call_with_retries(lambda: call.run(work), backoff(), tries=TRIES)


def _read_token(parameter: Mapping[str, Any]) -> Token:
    name, moment = str(parameter["Name"]), parameter.get("LastModifiedDate")
    described = read_description(str(parameter.get("Description", "")))
    own = name.rpartition("/")[2]
    place, scope = described or (own if identity.is_of_task(own) else "", "")
    written = float(moment.timestamp()) if moment is not None else 0.0
    return Token(name, written, int(parameter.get("Version", 0)), place, scope)
