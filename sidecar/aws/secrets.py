"""Read a secret: given as it is, or as a reference `file:`, `ssm:`, `secretsmanager:` or an ARN."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sidecar import host, values
from sidecar.aws import references
from sidecar.aws.calls import SECRETS_MANAGER, SSM, AwsError, Call, backoff
from sidecar.aws.own_session import make_session
from sidecar.aws.references import parse_reference, pick_value
from sidecar.aws.session import ServiceClient
from sidecar.errors import TokenError
from sidecar.log import masks
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.session import AioSession

    from sidecar.aws.references import Reference

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
    tries: int | None = None
    """How often a secret is asked for; None: as often as the time allows."""


async def read_secret(
    text: str,
    setting: str,
    secret_reader: SecretReader,
    is_meant: Callable[[str], bool] = lambda _: False,
) -> str:
    """Return the secret that `text` is or names. Raises TokenError that names `setting`.

    One that is JSON is the value of the key that is named, else of its only key, else the only
    value that `is_meant`.
    What the task role can read, a job's step can read too, unless jobs have a role of their own;
    the log says so. The task definition's `secrets` are the better way.
    """
    try:
        reference = parse_reference(text)
    except ValueError as error:
        raise TokenError(f"cannot use {setting}: it {error}") from None
    stored = (await _read(reference, setting, secret_reader)).strip()
    masks.hide(stored)
    if (whole := values.strip_quotes(stored)) != stored:
        log.warning("credential.unquoted", setting=setting)
    try:
        secret = pick_value(whole, reference.key, is_meant).strip()
    except ValueError as error:
        place = f"what {reference.name} holds" if reference.kind else "it"
        raise TokenError(f"cannot use {setting}: {place} {error}") from None
    if not secret:
        raise TokenError(f"cannot use {setting}: it is empty")
    masks.hide(secret)
    return secret


async def _read(reference: Reference, setting: str, secret_reader: SecretReader) -> str:
    """Read what stands at a place. Raises TokenError."""
    match reference.kind:
        case references.FILE:
            return _read_file(reference.name, setting)
        case references.SSM | references.SECRETS_MANAGER:
            is_parameter = reference.kind == references.SSM
            read = _read_ssm if is_parameter else _read_secretsmanager
            try:
                secret = await call_with_retries(
                    partial(read, reference, setting, secret_reader),
                    backoff(),
                    tries=secret_reader.tries,
                    seconds=secret_reader.timeout,
                )
            except AwsError as error:
                raise TokenError(str(error)) from error
            if secret_reader.shared:
                _warn_shared(setting)
            return secret
        case _:
            return reference.name


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


async def _read_ssm(reference: Reference, setting: str, secret_reader: SecretReader) -> str:
    name, region = reference.name, reference.region or secret_reader.region
    action = f"cannot read {setting} from the parameter {name}"
    call = Call(action, SSM, "ssm:GetParameter", setting)
    async with ServiceClient(SSM, region, secret_reader.session) as ssm:

        async def read() -> str:
            client = await ssm.connect()
            answer = await client.get_parameter(Name=name, WithDecryption=True)
            return str(answer["Parameter"]["Value"])

        return await call.run(read)


async def _read_secretsmanager(
    reference: Reference, setting: str, secret_reader: SecretReader
) -> str:
    name, region = reference.name, reference.region or secret_reader.region
    action = f"cannot read {setting} from the secret {name}"
    call = Call(action, SECRETS_MANAGER, "secretsmanager:GetSecretValue", setting)
    async with ServiceClient(SECRETS_MANAGER, region, secret_reader.session) as aws:

        async def read() -> str:
            client = await aws.connect()
            answer = await client.get_secret_value(SecretId=name, **reference.version_arguments)
            if "SecretBinary" in answer:
                raise AwsError(f"cannot use {setting}: the secret {name} is not text")
            return str(answer["SecretString"])

        return await call.run(read)
