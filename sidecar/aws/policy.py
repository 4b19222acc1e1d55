"""Ask AWS what a role's policies allow, without doing it: iam:SimulatePrincipalPolicy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.aws.calls import IAM, Call
from sidecar.aws.session import ServiceClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiobotocore.session import AioSession

PERMISSION = "iam:SimulatePrincipalPolicy"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of the policies about one action on one resource."""

    action: str
    resource: str
    allowed: bool
    uncertain: bool = False
    """Whether a condition could not be judged: its value is known only when the call is made."""


async def simulate(
    role_arn: str,
    wanted: Sequence[tuple[str, str]],
    region: str | None,
    make_session: Callable[[], AioSession],
    timeout: float,
    *,
    context: Mapping[str, str] | None = None,
) -> list[Decision]:
    """Ask about each action and resource. Raises AwsError, above all if it may not be asked.

    `context`: the keys that conditions may ask for, and the values that the calls have.
    Of the policies of a resource, such as a key's, AWS knows nothing here.
    """
    entries = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for key, value in (context or {}).items()
    ]
    call = Call(f"cannot ask what {role_arn} may do", IAM, PERMISSION, "the role's policy")
    async with ServiceClient(IAM, region, make_session) as iam:

        async def ask(resource: str, actions: list[str]) -> list[Decision]:
            client = await iam.connect()
            answer = await client.simulate_principal_policy(
                PolicySourceArn=role_arn,
                ActionNames=actions,
                ResourceArns=[resource],
                ContextEntries=entries,
            )
            return [_read(each, resource) for each in answer["EvaluationResults"]]

        found: list[Decision] = []
        for resource in dict.fromkeys(resource for _, resource in wanted):
            actions = [action for action, each in wanted if each == resource]
            found += await call.run(lambda: ask(resource, actions), timeout)  # noqa: B023
        return found


def _read(result: dict[str, Any], resource: str) -> Decision:
    return Decision(
        result["EvalActionName"],
        resource,
        result["EvalDecision"] == "allowed",
        bool(result.get("MissingContextValues")),
    )
