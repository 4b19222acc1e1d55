"""Ask AWS about what is in the account; nothing here changes anything."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from launcher.doctor.words import explain_aws, translate
from sidecar.aws.calls import AccessDenied, AwsError, Call, Service
from sidecar.aws.own_session import make_session
from sidecar.aws.session import ServiceClient
from sidecar.examination.finding import Finding, unknown
from sidecar.examination.patient_calls import call_aws

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

    from sidecar.examination.patience import Patience

ECR = Service("ecr", "ECR", "image")
QUOTAS = Service("service-quotas", "Service Quotas", "quota")
MISSING = {
    "ClusterNotFoundException",
    "ImageNotFoundException",
    "InvalidGroup.NotFound",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateId.VersionNotFound",
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidSubnetID.NotFound",
    "NoSuchEntity",
    "NoSuchResourceException",
    "RepositoryNotFoundException",
}
"""The codes by which services say that something does not exist."""


class Account:
    """The account of these credentials, in one region."""

    def __init__(self, region: str | None, patience: Patience) -> None:
        self.region = region
        self._patience = patience
        self._session: AioSession | None = None
        self._clients: dict[Service, ServiceClient] = {}
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    def session(self) -> AioSession:
        """Return the one session of all checks: it reads files and fetches credentials once."""
        if self._session is None:
            self._session = make_session()
        return self._session

    async def ask(
        self, service: Service, operation: str, missing: frozenset[str] = frozenset(), **given: Any
    ) -> dict[str, Any] | None:
        """Call an operation that changes nothing; None where what it asks for does not exist.

        `missing`: more codes that say so. Raises AwsError.
        """
        permission = "".join(word.capitalize() for word in operation.split("_"))
        shown = f"{service.name.replace('service-quotas', 'servicequotas')}:{permission}"
        call = Call(f"cannot ask {service.title}", service, shown, "the role's policy")
        client = self._clients.get(service)
        if client is None:
            made = ServiceClient(service, self.region, self.session)
            client = self._clients[service] = await self._opened.enter_async_context(made)

        async def once() -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = await getattr(await client.connect(), operation)(**given)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in {*MISSING, *missing}:
                    return None
                raise
            return answer

        return await call_aws(lambda seconds: call.run(once, seconds), self._patience.aws)


def explain_unseen(error: AwsError, change: str) -> Finding:
    """Say that something could not be looked at: whoever asks may have fewer rights than AWS has.

    `change`: how to find out otherwise.
    """
    if isinstance(error, AccessDenied):
        return translate(unknown(f"not looked at: {error}", change))
    return explain_aws(error)
