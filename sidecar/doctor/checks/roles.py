"""Check which role each source of credentials yields: variables, the ECS agent, the metadata."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from sidecar.aws.calls import AwsError, TransientError
from sidecar.aws.container_credentials import Endpoint, UnavailableError, UpstreamError
from sidecar.aws.identity import read_identity
from sidecar.aws.instance_role import InstanceRole
from sidecar.aws.own_session import make_session
from sidecar.errors import RelayError
from sidecar.examination.finding import Finding, ok, unknown, warning
from sidecar.net.retry import call_with_retries, growing
from sidecar.settings import platform

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

    from sidecar.aws.container_credentials import CredentialsSource
    from sidecar.doctor.setup import Setup

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
TRIES = 2
OWN_KEYS, ECS_FACE, IMDS_FACE = "variables", "the ECS agent", "the instance metadata"


async def check(setup: Setup) -> list[Finding]:
    """Ask each source as a job's step would, and STS whose credentials it gave."""
    found = await asyncio.gather(_ask_variables(setup), _ask_ecs(setup), _ask_imds(setup))
    return [finding for findings in found for finding in findings]


async def _ask_variables(setup: Setup) -> list[Finding]:
    key, secret = map(setup.variables.get, KEYS)
    if not key or not secret:
        return [ok(f"{OWN_KEYS}: there are none ({KEYS[0]})")]
    session = _make_session(key, secret, setup.variables.get("AWS_SESSION_TOKEN"))
    found = [await _name(setup, OWN_KEYS, session)]
    if setup.access.endpoint is not None:
        text = f"{OWN_KEYS} win over the role in every AWS program, the agent's own too"
        found.append(warning(text, f"leave {' and '.join(KEYS)} out"))
    return found


async def _ask_ecs(setup: Setup) -> list[Finding]:
    task = setup.config.task
    try:
        endpoint = Endpoint.from_variables(
            relative_uri=task.credentials_relative_uri,
            full_uri=task.credentials_full_uri,
            authorization=task.credentials_token,
            token_file=task.credentials_token_file,
        )
    except RelayError as error:
        return [warning(f"{ECS_FACE}: {error}", "correct the variable")]
    if endpoint is None:
        return [ok(f"{ECS_FACE}: no variable names it (AWS_CONTAINER_CREDENTIALS_*)")]
    return [await _fetch(setup, ECS_FACE, endpoint)]


async def _ask_imds(setup: Setup) -> list[Finding]:
    if platform.is_disabled(setup.variables):
        return [ok(f"{IMDS_FACE}: SDKs do not ask them ({platform.IMDS_DISABLED}=true)")]
    source = InstanceRole(setup.config.task.instance_uri)
    try:
        session, role = await _fetch_session(source, setup.patience.request)
    except UpstreamError as error:
        return [ok(f"{IMDS_FACE}: none ({error})")]
    named = await _name(setup, IMDS_FACE, session, role)
    if setup.config.machine:
        return [named]
    text = f"{named.text}: in a task, a job has this role as well"
    change = "keep it away: ECS_AWSVPC_BLOCK_IMDS=true on the instance, or a hop limit of 1"
    return [warning(text, change)]


async def _fetch(setup: Setup, name: str, source: CredentialsSource) -> Finding:
    try:
        session, role = await _fetch_session(source, setup.patience.request)
    except UpstreamError as error:
        return warning(f"{name}: {error}", source.advice)
    return await _name(setup, name, session, role)


async def _fetch_session(
    source: CredentialsSource, timeout: float
) -> tuple[AioSession, str | None]:
    """Fetch credentials once; make a session of them, and return the role that is named.

    Raises UpstreamError.
    """
    async with source.connected() as fetch:
        found = await call_with_retries(
            lambda: fetch(time.time(), timeout / TRIES),
            growing(UnavailableError, first=0.1, longest=0.5),
            tries=TRIES,
            seconds=timeout,
        )
    document = json.loads(found.body)
    keys = (document["AccessKeyId"], document["SecretAccessKey"], document["Token"])
    return _make_session(*keys), found.role_arn


def _make_session(key: str, secret: str, token: str | None) -> AioSession:
    session = make_session()
    session.set_credentials(key, secret, token)
    return session


async def _name(setup: Setup, source: str, session: AioSession, role: str | None = None) -> Finding:
    """Ask STS whose credentials a session has; `role` is what the source itself said."""
    try:
        region = setup.config.task.region
        identity = await setup.call_aws(
            lambda seconds: read_identity(region, lambda: session, seconds)
        )
    except AwsError as error:
        if role is not None and isinstance(error, TransientError):
            return ok(f"{source}: {role}, as it says itself; STS does not answer")
        text = f"{source}: there are credentials, but not for whom: {error}"
        return unknown(text, "replace them, or open the way to STS")
    return ok(f"{source}: {identity.arn}")
