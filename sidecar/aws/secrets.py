"""Read a secret: given as it is, or as a reference `file:`, `ssm:` or `secretsmanager:`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.aws.calls import SECRETS_MANAGER, SSM, AwsError, Call, backoff
from sidecar.aws.own_session import make_session
from sidecar.aws.session import ServiceClient
from sidecar.errors import TokenError
from sidecar.log import masks
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.session import AioSession

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SecretReader:
    """A reader of AWS's secrets."""

    region: str | None
    session: Callable[[], AioSession] = make_session
    shared: bool = True
    """Whether a job's steps have the same role."""
    timeout: float = 15.0
    """Seconds after which no more tries are begun."""


async def read_secret(reference: str, setting: str, secret_reader: SecretReader) -> str:
    """Return the secret that `reference` is or names. Raises TokenError that names `setting`.

    What the task role can read, a job's step can read too, unless jobs have a role of their own;
    the log says so. The task definition's `secrets` are the better way.
    """
    kind, _, name = reference.partition(":")
    match kind:
        case "file":
            secret = _read_file(name, setting)
        case "ssm" | "secretsmanager":
            read = _read_ssm if kind == "ssm" else _read_secretsmanager
            try:
                secret = await call_with_retries(
                    partial(read, name, setting, secret_reader),
                    backoff(),
                    seconds=secret_reader.timeout,
                )
            except AwsError as error:
                raise TokenError(str(error)) from error
            if secret_reader.shared:
                _warn_shared(setting)
        case _:
            secret = reference
    if not secret.strip():
        raise TokenError(f"cannot use {setting}: it is empty")
    masks.hide(secret.strip())
    return secret.strip()


def _warn_shared(setting: str) -> None:
    log.warning(
        "credential.shared",
        setting=setting,
        reason="a job's steps can read it with the task role too; use the task definition's "
        "secrets, or give jobs a role of their own (SIDECAR_JOB_ROLE_ARN)",
    )


def _read_file(name: str, setting: str) -> str:
    try:
        return host.read_given(Path(name)).decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TokenError(f"cannot read {setting} from {name}: {reason}") from error


async def _read_ssm(name: str, setting: str, secret_reader: SecretReader) -> str:
    action = f"cannot read {setting} from the parameter {name}"
    call = Call(action, SSM, "ssm:GetParameter", setting)
    async with ServiceClient(SSM, secret_reader.region, secret_reader.session) as ssm:

        async def read() -> str:
            client = await ssm.connect()
            answer = await client.get_parameter(Name=name, WithDecryption=True)
            return str(answer["Parameter"]["Value"])

        return await call.run(read)


async def _read_secretsmanager(name: str, setting: str, secret_reader: SecretReader) -> str:
    action = f"cannot read {setting} from the secret {name}"
    call = Call(action, SECRETS_MANAGER, "secretsmanager:GetSecretValue", setting)
    async with ServiceClient(SECRETS_MANAGER, secret_reader.region, secret_reader.session) as aws:

        async def read() -> str:
            client = await aws.connect()
            answer = await client.get_secret_value(SecretId=name)
            if "SecretBinary" in answer:
                raise AwsError(f"cannot use {setting}: the secret {name} is not text")
            return str(answer["SecretString"])

        return await call.run(read)
