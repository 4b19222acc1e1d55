"""List the services of AWS that a life with these settings calls, and find where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws import references
from sidecar.aws.calls import SECRETS_MANAGER, SSM, STS, Service
from sidecar.aws.endpoints import find_endpoint
from sidecar.aws.references import parse_reference
from sidecar.settings.given_roles import RolesParameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.session import AioSession

    from sidecar.aws.references import Reference
    from sidecar.settings.model import Configuration, Settings


def list_references(settings: Settings) -> dict[str, Reference]:
    """Return the references to secrets that AWS keeps, by the setting that holds each."""
    found = {}
    for field in ("github_app_key", "github_pat"):
        secret = getattr(settings, field)
        try:
            reference = parse_reference(secret.get_secret_value() if secret is not None else "")
        except ValueError:  # reading it tells that
            continue
        if reference.kind in (references.SSM, references.SECRETS_MANAGER):
            found[field] = reference
    return found


def list_services(settings: Settings) -> list[Service]:
    """List the services whose calls a life needs; none where it does not need AWS at all."""
    kinds = {reference.kind for reference in list_references(settings).values()}
    names = (settings.token_parameter, settings.launch_config, settings.launch_id)
    wanted = {
        SSM: any(names) or references.SSM in kinds or isinstance(settings.roles, RolesParameters),
        SECRETS_MANAGER: references.SECRETS_MANAGER in kinds,
        STS: any(
            given is not None
            for given in (settings.job_role_arn, settings.job_policy, settings.roles)
        ),
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
