"""A static secret, or where to find it: `file:`, `ssm:` or `secretsmanager:`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stamina
import structlog
from aiobotocore.session import get_session

from sidecar.errors import TokenError
from sidecar.log import events
from sidecar.net.retry import growing
from sidecar.tokens import ssm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiobotocore.session import AioSession

    Read = Callable[[str, str, "SecretReader"], Awaitable[str]]

log = structlog.get_logger()

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class SecretReader:
    """As whom, and where, AWS is asked."""

    region: str | None
    session: Callable[[], AioSession] = get_session
    shared: bool = True
    """Whether a job's steps have the same role."""

    def client(self, service: str) -> Any:
        """Make a client of one AWS service, to be entered."""
        return self.session().create_client(service, region_name=self.region, config=ssm.CALLS)


async def resolved(reference: str, setting: str, secret_reader: SecretReader) -> str:
    """Return the secret that `reference` is or names; raises TokenError that names `setting`.

    What the task role reads, a job's step may read too, unless it has a role of its own: that
    is said in the log. The task definition's `secrets` are the better way.
    """
    kind, _, name = reference.partition(":")
    match kind:
        case "file":
            secret = _from_file(name, setting)
        case "ssm":
            secret = await _patiently(_from_ssm, name, setting, secret_reader)
        case "secretsmanager":
            secret = await _patiently(_from_secretsmanager, name, setting, secret_reader)
        case _:
            secret = reference
    if secret_reader.shared and kind in ("ssm", "secretsmanager"):
        log.warning(
            "credential.shared",
            setting=setting,
            reason="a job's steps can read it with the task role too; use the task definition's "
            "secrets, or give jobs a role of their own (SIDECAR_JOB_ROLE_ARN)",
        )
    if not secret.strip():
        raise TokenError(f"cannot use {setting}: it is empty")
    events.hide(secret.strip())
    return secret.strip()


def _from_file(name: str, setting: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TokenError(f"cannot read {setting} from {name}: {why}") from error


async def _patiently(read: Read, name: str, setting: str, secret_reader: SecretReader) -> str:
    """Try again what may pass; a secret that is not there now is not waited for."""
    growing_ = growing(ssm.Unavailable, first=0.5, longest=4.0)
    async for attempt in stamina.retry_context(
        on=lambda error: not isinstance(error, ssm.Missing) and growing_(error),
        attempts=ATTEMPTS,
        timeout=None,
    ):
        with attempt:
            return await read(name, setting, secret_reader)
    raise AssertionError  # retry_context returns or raises


async def _from_ssm(name: str, setting: str, secret_reader: SecretReader) -> str:
    action = f"cannot read {setting} from the parameter {name}"
    async with (
        ssm.asking(action, "ssm:GetParameter", setting=setting),
        secret_reader.client("ssm") as client,
    ):
        answer = await client.get_parameter(Name=name, WithDecryption=True)
        return str(answer["Parameter"]["Value"])
    raise AssertionError  # the block returns or raises


async def _from_secretsmanager(name: str, setting: str, secret_reader: SecretReader) -> str:
    action = f"cannot read {setting} from the secret {name}"
    permission = "secretsmanager:GetSecretValue"
    async with (
        ssm.asking(action, permission, setting=setting, service="SecretsManager"),
        secret_reader.client("secretsmanager") as client,
    ):
        answer = await client.get_secret_value(SecretId=name)
        if "SecretBinary" in answer:
            raise TokenError(f"cannot use {setting}: the secret {name} is not text")
        return str(answer["SecretString"])
    raise AssertionError  # the block returns or raises
