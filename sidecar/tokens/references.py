"""A static secret, or where to find it: `file:`, `ssm:` or `secretsmanager:`."""

from __future__ import annotations

from pathlib import Path

import structlog
from aiobotocore.session import get_session

from sidecar import logs
from sidecar.errors import TokenError
from sidecar.tokens import ssm

log = structlog.get_logger()


async def resolved(reference: str, setting: str, region: str | None) -> str:
    """Return the secret that `reference` is or names; raises TokenError that names `setting`.

    What the task role reads, a job's step may read too, unless it has a role of its own: that
    is said in the log. The task definition's `secrets` are the better way.
    """
    kind, _, name = reference.partition(":")
    match kind:
        case "file":
            secret = _from_file(name, setting)
        case "ssm":
            secret = await _from_ssm(name, region)
        case "secretsmanager":
            secret = await _from_secretsmanager(name, setting, region)
        case _:
            secret = reference
    if kind in ("ssm", "secretsmanager"):
        log.warning(
            "credential.shared",
            setting=setting,
            reason="a job's steps can read it with the task role too; use the task definition's "
            "secrets, or give jobs a role of their own (SIDECAR_JOB_ROLE_ARN)",
        )
    if not secret.strip():
        raise TokenError(f"cannot use {setting}: it is empty")
    logs.hide(secret.strip())
    return secret.strip()


def _from_file(name: str, setting: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise TokenError(f"cannot read {setting} from {name}: {why}") from error


async def _from_ssm(name: str, region: str | None) -> str:
    async with ssm.Store(region) as store:
        text, _ = await ssm.appeared(ssm.Parameter(store, name), timeout=30.0)
        return text


async def _from_secretsmanager(name: str, setting: str, region: str | None) -> str:
    permission = "secretsmanager:GetSecretValue"
    with ssm.translated(f"cannot read {setting} from the secret {name}", permission):
        async with get_session().create_client(
            "secretsmanager", region_name=region, config=ssm.CALLS
        ) as client:
            answer = await client.get_secret_value(SecretId=name)
    try:
        return str(answer["SecretString"])
    except KeyError:
        raise TokenError(f"cannot use {setting}: the secret {name} is not text") from None
