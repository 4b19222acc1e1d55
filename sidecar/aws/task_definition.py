"""Read the task definition of the task that this process runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.aws.calls import ECS, Call
from sidecar.aws.session import ServiceClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiobotocore.session import AioSession


async def read_container_definition(
    definition: str,
    container: str,
    region: str | None,
    make_session: Callable[[], AioSession],
    timeout: float,
) -> Mapping[str, Any]:
    """Return what `definition` (FAMILY:REVISION) says about one container; nothing if it has none.

    Raises AwsError.
    """
    action = f"cannot read the task definition {definition}"
    call = Call(action, ECS, "ecs:DescribeTaskDefinition", "the task's family and revision")
    async with ServiceClient(ECS, region, make_session) as ecs:

        async def read() -> Mapping[str, Any]:
            client = await ecs.connect()
            answer = await client.describe_task_definition(taskDefinition=definition)
            described = answer["taskDefinition"].get("containerDefinitions", [])
            return next((each for each in described if each["name"] == container), {})

        return await call.run(read, timeout)
