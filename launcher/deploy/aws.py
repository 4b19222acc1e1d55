"""Call AWS from the command line: short, one call after the other, each with a deadline."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from launcher.errors import Exit, LaunchError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = Config(
    connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 5}
)
MISSING = (
    "ClientException",  # the only one that ECS has for a task definition it does not find
    "InvalidLaunchTemplateName.NotFound",
    "InvalidLaunchTemplateId.NotFound",
)
"""The beginnings of AWS's codes for a task definition or launch template that is not there."""


class Account:
    """One account and region, whose clients are made as they are needed."""

    def __init__(self, region: str | None = None) -> None:
        self._session = botocore.session.get_session()
        found = region or self._session.get_config_variable("region")
        if not found:
            raise LaunchError(Exit.SETTINGS, "no region is set (set AWS_REGION)")
        self.region: str = found
        self._clients: dict[str, Any] = {}
        identity = self.call("sts", "get_caller_identity", "cannot ask who is signed in")
        self.id: str = identity["Account"]
        self.partition: str = identity["Arn"].split(":")[1]

    def client(self, service: str) -> Any:
        """Return the client of a service."""
        if service not in self._clients:
            with translated("cannot call AWS"):
                self._clients[service] = self._session.create_client(
                    service, region_name=self.region, config=CONFIG
                )
        return self._clients[service]

    def call(
        self,
        service: str,
        operation: str,
        action: str,
        *,
        quotes_aws: bool = True,
        **arguments: Any,
    ) -> Any:
        """Make one call. Raises LaunchError, which begins with `action`."""
        with translated(action, quotes_aws=quotes_aws):
            return getattr(self.client(service), operation)(**arguments)

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.id}:{resource}"

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()


@contextmanager
def translated(action: str, *, quotes_aws: bool = True) -> Iterator[None]:
    """Turn the library's errors into a LaunchError that begins with `action`.

    `quotes_aws` says whether it may show AWS's own text; not where that may quote a secret.
    """
    try:
        yield
    except ClientError as error:
        detail = error.response.get("Error", {})
        text = f"{action}: AWS answers {detail.get('Code')}"
        shown = f"{text}: {detail.get('Message')}" if quotes_aws else text
        raise LaunchError(Exit.REFUSED, shown) from error
    except BotoCoreError as error:
        shown = str(error) if quotes_aws else type(error).__name__
        raise LaunchError(Exit.UNAVAILABLE, f"{action}: {shown}") from error


def code_of(error: LaunchError) -> str:
    """Return the code that AWS answered; empty where it answered none."""
    cause = error.__cause__
    return str(cause.response["Error"]["Code"]) if isinstance(cause, ClientError) else ""


def is_missing(error: LaunchError) -> bool:
    """Return whether AWS answered that it has no such task definition or launch template."""
    return code_of(error).startswith(MISSING)
