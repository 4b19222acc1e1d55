"""List the services of AWS that a life with these settings calls, and find where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import SECRETS_MANAGER, SSM, STS, Service
from sidecar.aws.endpoints import find_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.session import AioSession

    from sidecar.settings.model import Configuration, Settings


def list_references(settings: Settings) -> dict[str, str]:
    """Return the references to secrets, such as `ssm:NAME`, by the setting that holds each."""
    found = {}
    for field in ("github_app_key", "github_pat"):
        secret = getattr(settings, field)
        reference = secret.get_secret_value() if secret is not None else ""
        if reference.startswith(("ssm:", "secretsmanager:")):
            found[field] = reference
    return found


def list_services(settings: Settings) -> list[Service]:
    """List the services whose calls a life needs; none where it does not need AWS at all."""
    kinds = {reference.partition(":")[0] for reference in list_references(settings).values()}
    names = (settings.token_parameter, settings.launch_config, settings.launch_id)
    wanted = {
        SSM: any(names) or "ssm" in kinds,
        SECRETS_MANAGER: "secretsmanager" in kinds,
        STS: settings.job_role_arn is not None or settings.job_policy is not None,
    }
    return [service for service, needed in wanted.items() if needed]


async def find_endpoints(
    config: Configuration, make_session: Callable[[], AioSession]
) -> dict[Service, str]:
    """Return the URL of each service that a life calls. Raises AwsError."""
    return {
        service: await find_endpoint(service, config.task.region, make_session)
        for service in list_services(config.settings)
    }
