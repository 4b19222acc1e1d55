"""Find where the AWS library sends the calls of a service, by its own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.session import AioSession

    from sidecar.aws.calls import Service


async def find_endpoint(
    service: Service, region: str | None, make_session: Callable[[], AioSession]
) -> str:
    """Return the URL of the service's endpoint; nothing is asked. Raises AwsError."""

    async def find() -> str:
        async with make_session().create_client(service.name, region_name=region) as client:
            return str(client.meta.endpoint_url)

    call = Call(f"cannot find the endpoint of {service.title}", service, "nothing", "AWS_REGION")
    return await call.run(find)
