"""What jobs get of AWS: the task role, or less; and by which way they come to it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from sidecar import host, relay
from sidecar.aws.secrets import SecretReader
from sidecar.errors import RelayError
from sidecar.lifecycle.credentials_route import CredentialsRoute
from sidecar.relay.mode import Mode
from sidecar.runner import environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiobotocore.session import AioSession

    from sidecar.aws.agent_credentials import AgentCredentials
    from sidecar.aws.task_metadata import TaskFacts
    from sidecar.relay.job_role import JobRole
    from sidecar.settings.model import Configuration, Settings
    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

JOB_ROLE_PATIENCE = 3.0
"""How many times as long a job waits for a role of its own: without it, it would have none."""


class Access:
    """How the agent itself comes to AWS, and whether its jobs come to it another way.

    Where rules may stand, or stood when a predecessor was killed, the agent fetches its own
    credentials on marked sockets, since any other may be sent to the relay. Elsewhere all is as
    the AWS library does it.
    """

    def __init__(self, config: Configuration) -> None:
        settings = config.settings
        self.separate_job_role = (
            settings.job_role_arn is not None or settings.job_policy is not None
        )
        """Whether jobs have a role of their own."""
        by_rules = settings.relay != "off" and host.may_filter()
        self.so_mark = self.separate_job_role or by_rules
        """Whether the agent asks on sockets of its own, which no rule catches."""
        self.endpoint: relay.Endpoint | None = None
        self.problem: RelayError | None = None
        """Why there is no endpoint, if one is named."""
        self.own: AgentCredentials | None = None
        task = config.task
        try:
            self.endpoint = relay.Endpoint.given(
                relative_uri=task.credentials_relative_uri,
                full_uri=task.credentials_full_uri,
                authorization=task.credentials_token,
                token_file=task.credentials_token_file,
            )
        except RelayError as error:
            self.problem = error
        if self.so_mark and self.endpoint is not None:
            from sidecar.aws.agent_credentials import (
                AgentCredentials,  # late, here as below: not every life needs it
            )

            self.endpoint = replace(self.endpoint, so_mark=True)
            self.own = AgentCredentials(self.endpoint, alone=self.separate_job_role)

    def session(self) -> AioSession:
        """Make a session of the AWS library, with the agent's own credentials."""
        if self.own is not None:
            return self.own.session
        from aiobotocore.session import get_session

        return get_session()

    def secret_reader(self, region: str | None) -> SecretReader:
        """Return as whom, and where, a secret's reference is read."""
        return SecretReader(region, self.session, shared=not self.separate_job_role)

    def job_role(self, config: Configuration) -> JobRole:
        """Make the source of what jobs get instead."""
        from sidecar.relay.job_role import JobRole, Terms

        settings = config.settings
        terms = Terms(settings.job_role_arn, settings.job_policy, config.task.region)
        return JobRole(terms, self.own)


@dataclass(slots=True)
class JobCredentials:
    """What came of it."""

    served: relay.Relay | None = None
    job_role: JobRole | None = None
    separate_job_role: bool = False
    """Whether jobs have a role of their own, and so nothing of the agent's."""
    redirected: bool = False
    """Whether a job that asks the ECS agent reaches the relay."""
    mode: Mode = Mode.OFF
    """By which way containers come to credentials."""

    def without_agents(self, passed_on: Mapping[str, str]) -> Mapping[str, str]:
        """Return what of the agent's environment a job may see."""
        return environment.without_agents(
            passed_on, separate_job_role=self.separate_job_role, redirected=self.redirected
        )

    async def warmed(
        self, runner: str, timeout: float, passed_on: Mapping[str, str], *, required: bool
    ) -> dict[str, str]:
        """Wait until the relay holds credentials; return what tells a job where they are.

        Cold or not, a job that is to have a role of its own is sent to the relay and nowhere else.
        """
        if self.served is None:
            return environment.no_credentials(passed_on) if self.separate_job_role else {}
        if self.job_role is not None:
            self.job_role.name(runner)
            timeout *= JOB_ROLE_PATIENCE
        try:
            await self.served.warm(timeout)
        except RelayError as error:
            if required:
                raise
            log.warning("relay.credentials_delayed", reason=str(error))
        if not self.separate_job_role and not self.redirected:
            return {environment.RELAY_URI: self.served.uri}
        relative = self.served.relative_uri if self.redirected else None
        return environment.credentials(passed_on, self.served.uri, relative)


@asynccontextmanager
async def job_credentials(
    config: Configuration, access: Access, facts: TaskFacts, cleanup_stack: CleanupStack
) -> AsyncIterator[JobCredentials]:
    """Relay credentials to jobs within the block, as far as that can be.

    Raises RelayError only if SIDECAR_RELAY_REQUIRED says so, or SIDECAR_RELAY names a mode that
    cannot be: else a job runs without.
    """
    settings = config.settings
    found = JobCredentials(separate_job_role=access.separate_job_role)
    _tell_reach(settings, access)
    async with AsyncExitStack() as serving:
        try:
            if (source := _source(config, access, found)) is not None:
                reach = CredentialsRoute(
                    access.endpoint, access.separate_job_role, facts.network_modes, cleanup_stack
                )
                found.served, found.redirected, found.mode = await reach.served(
                    source, config, serving
                )
        except RelayError as error:
            if settings.relay_required or settings.relay != "auto":
                raise
            log.warning("relay.failed", reason=str(error))
        yield found


def _source(
    config: Configuration, access: Access, found: JobCredentials
) -> relay.Endpoint | JobRole | None:
    """Choose what is relayed; None for nothing. Raises RelayError."""
    settings = config.settings
    if settings.relay == "off":
        log.info("relay.disabled", reason="SIDECAR_RELAY=off")
        return None
    if access.problem is not None:
        raise access.problem
    if access.separate_job_role:
        found.job_role = access.job_role(config)
        return found.job_role
    if access.endpoint is None:
        if settings.relay_required or settings.relay != "auto":
            raise RelayError("cannot relay credentials: the task has no role (taskRoleArn)")
        log.info("relay.disabled", reason="no task role")
    return access.endpoint


def _tell_reach(settings: Settings, access: Access) -> None:
    """Say in one line what a job can do with the task role, where it has that."""
    if access.separate_job_role or access.endpoint is None:
        return
    reach = []
    if settings.token_parameter is not None:
        folder = settings.token_parameter.rpartition("/")[0]
        reach.append(f"SIDECAR_TOKEN_PARAMETER, and others that its policy grants: {folder}/*")
    for name in ("github_app_key", "github_pat"):
        secret = getattr(settings, name)
        reference = secret.get_secret_value() if secret is not None else ""
        if reference.startswith(("ssm:", "secretsmanager:")):
            reach.append(f"SIDECAR_{name.upper()}: {reference}")
    log.info(
        "job.role_shared",
        reason="jobs have the task role, and may do whatever it may; SIDECAR_JOB_ROLE_ARN or "
        "SIDECAR_JOB_POLICY gives them less",
        can_read=reach,
    )
