"""Fetch the credentials of a machine's role from its instance metadata service (IMDSv2)."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sidecar.aws.container_credentials import (
    RejectedError,
    UnavailableError,
    parse_credentials,
)
from sidecar.aws.instance_metadata import (
    PROFILE,
    ROLES,
    InstanceMetadata,
    MetadataError,
    SilentError,
    connect,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.aws.container_credentials import Credentials, Fetch


@dataclass(frozen=True, slots=True)
class InstanceRole:
    """The role of the machine's instance profile, as a source of credentials."""

    url: str
    """Of the instance metadata service."""
    so_mark: bool = False
    """Whether it is asked on SO_MARK sockets, which no rule for jobs redirects."""

    @property
    def where(self) -> str:
        """Host and port of the service."""
        return urlsplit(self.url).netloc

    @property
    def advice(self) -> str:
        """Say what to change when it does not work."""
        return "give the instance a profile, or set SIDECAR_RELAY=off to go without"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Fetch]:
        """Open a session with the service; yield the function that fetches with it."""
        async with connect(self.url, so_mark=self.so_mark) as metadata:
            yield partial(_fetch, metadata, self.where)


async def _fetch(metadata: InstanceMetadata, where: str, now: float, timeout: float) -> Credentials:
    """Fetch once, for at most `timeout` seconds. Raises UnavailableError or RejectedError."""
    try:
        async with asyncio.timeout(timeout):
            role = ((await metadata.read(f"{ROLES}/")) or "").split("\n")[0].strip()
            if not role:
                raise RejectedError(f"{where} names no role: the instance has no profile")
            found = await metadata.read(f"{ROLES}/{role}")
            profile = await metadata.read(PROFILE)
    except TimeoutError as error:
        raise UnavailableError(f"{where} did not answer within {timeout:g} s") from error
    except SilentError as error:
        raise UnavailableError(f"cannot reach {where}: {error}") from error
    except MetadataError as error:
        raise RejectedError(f"cannot ask {where}: {error}") from error
    document = _load(found)
    if document.get("Code", "Success") != "Success":
        raise UnavailableError(f"{where} answered {document['Code']}")
    document |= _name_role(role, _load(profile))
    return parse_credentials(json.dumps(document).encode(), now=now, where=where)


def _name_role(role: str, profile: dict[str, str]) -> dict[str, str]:
    """Return the role's ARN, if the profile's is known: it has the same partition and account.

    A path of the role is not known. Source: `iam/info` has `InstanceProfileArn`, for example
    arn:aws:iam::123456789012:instance-profile/name.
    """
    account, found, _ = str(profile.get("InstanceProfileArn", "")).partition(":instance-profile/")
    return {"RoleArn": f"{account}:role/{role}"} if found else {}


def _load(text: str | None) -> dict[str, str]:
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
