"""Give jobs AWS credentials: those of the task role, or of a separate job role."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from sidecar import host, relay
from sidecar.aws.instance_metadata import ROLES
from sidecar.aws.instance_role import InstanceRole
from sidecar.aws.secrets import SecretReader
from sidecar.errors import RelayError
from sidecar.lifecycle.credentials_route import CredentialsRoute
from sidecar.relay.assigned_role import AssignedRole
from sidecar.relay.mode import Mode
from sidecar.relay.network_rules import OWN_NAMESPACES
from sidecar.relay.protocol import hold_for_admission
from sidecar.relay.routes import ECS_AGENT, IMDS, current_interface, outward_interface
from sidecar.runner import environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiobotocore.session import AioSession

    from sidecar.aws.agent_credentials import AgentCredentials
    from sidecar.aws.container_credentials import CredentialsSource
    from sidecar.aws.instance_facts import Facts
    from sidecar.lifecycle.container_roles import ContainerRoles
    from sidecar.net.marked_sockets import OutwardRoutes
    from sidecar.relay import Relay
    from sidecar.relay.job_role import JobRole
    from sidecar.relay.protocol import Refused
    from sidecar.settings.model import Configuration, Settings
    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

JOB_ROLE_PATIENCE = 3.0
"""Factor of the wait for a separate job role: without it, a job has no credentials at all."""


def read_outward_routes(routes: OutwardRoutes, access: Access, facts: Facts) -> None:
    """Read by which interfaces the agent reaches AWS's own addresses; no job may exist yet.

    Sockets are bound only where the network namespace is the task's own, as for the network rules:
    in the host's, a rule of the ECS agent's leads its address back to this machine.
    """
    if access.so_mark:
        own = bool(facts.network_modes) and facts.network_modes <= OWN_NAMESPACES
        found = {address: outward_interface(address) for address in (ECS_AGENT, IMDS)}
        routes.keep_to(found, current_interface, bind=own)


class Access:
    """The agent's own access to AWS.

    Network rules, also those of a killed agent, may redirect requests to the relay. Where they are
    possible, the agent fetches its own credentials on SO_MARK sockets, which no rule redirects.
    Elsewhere the AWS library fetches them as usual.
    """

    def __init__(self, config: Configuration) -> None:
        settings = config.settings
        self._token_timeout = settings.token_timeout
        self.separate_job_role = any(
            given is not None
            for given in (settings.job_role_arn, settings.job_policy, settings.roles)
        )
        """Whether jobs have a role of their own."""
        by_rules = settings.relay != "off" and host.may_filter()
        self.so_mark = self.separate_job_role or by_rules
        """Whether the agent uses SO_MARK sockets, which no rule redirects."""
        self.endpoint: relay.Endpoint | InstanceRole | None = None
        """Where the agent's own credentials come from, if not from the library's usual places."""
        self.endpoint_error: RelayError | None = None
        """Why there is no endpoint, although a variable names one."""
        self.agent_credentials: AgentCredentials | None = None
        task = config.task
        try:
            self.endpoint = relay.Endpoint.from_variables(
                relative_uri=task.credentials_relative_uri,
                full_uri=task.credentials_full_uri,
                authorization=task.credentials_token,
                token_file=task.credentials_token_file,
            )
        except RelayError as error:
            self.endpoint_error = error
        if self.endpoint is None and self.endpoint_error is None and ROLES in config.machine:
            self.endpoint = InstanceRole(task.instance_uri)
        # A machine's service is asked once by the library, and may be slow while it boots.
        if self.endpoint is not None and (self.so_mark or config.machine):
            # Imported when needed, here as below: that keeps other starts fast.
            from sidecar.aws.agent_credentials import AgentCredentials

            self.endpoint = replace(self.endpoint, so_mark=self.so_mark)
            self.agent_credentials = AgentCredentials(self.endpoint, alone=self.separate_job_role)

    def session(self) -> AioSession:
        """Return a session of the AWS library with the agent's own credentials."""
        if self.agent_credentials is not None:
            return self.agent_credentials.session
        from sidecar.aws.own_session import make_session

        return make_session()

    def secret_reader(self, region: str | None) -> SecretReader:
        """Return what reads the agent's secrets, with its own credentials in that region."""
        return SecretReader(
            region,
            self.session,
            shared=not self.separate_job_role,
            timeout=self._token_timeout,
        )

    def job_role(self, config: Configuration) -> JobRole:
        """Return the source of the separate job role's credentials."""
        from sidecar.relay.job_role import JobRole, Terms

        settings = config.settings
        terms = Terms(settings.job_role_arn, settings.job_policy, config.task.region)
        return JobRole(terms, self.agent_credentials)


@dataclass(slots=True)
class JobCredentials:
    """The credentials of a job, and how the job reaches them."""

    relay: Relay | None = None
    job_role: JobRole | None = None
    assigned: AssignedRole | None = None
    """The role that the job gets by SIDECAR_ROLES, when it is known who the job is."""
    denial: Refused | None = None
    """Why the job has no role, once that is decided."""
    containers: ContainerRoles | None = None
    """The rules for containers; None: a container has what its job has."""
    separate_job_role: bool = False
    """Whether jobs have a role of their own, and no credentials of the agent's."""
    redirected: bool = False
    """Whether a job's requests to the ECS agent's address reach the relay."""
    mode: Mode = Mode.OFF
    """How containers get credentials."""

    def hold(self) -> None:
        """Serve nothing to a job until `release`: it is not known yet who the job is."""
        if self.relay is not None:
            self.relay.identities.hold(hold_for_admission())

    def release(self) -> None:
        """Serve the job that was admitted, or refuse it for good if it has no role."""
        if self.relay is None:
            return
        if self.denial is not None:
            self.relay.identities.hold(self.denial)
        else:
            self.relay.identities.release()

    def remove_agent_variables(self, passed_on: Mapping[str, str]) -> Mapping[str, str]:
        """Return the variables of the agent's environment that a job may have."""
        return environment.remove_agent_variables(
            passed_on, separate_job_role=self.separate_job_role, redirected=self.redirected
        )

    async def wait_for_credentials(
        self, runner: str, timeout: float, passed_on: Mapping[str, str], *, required: bool
    ) -> dict[str, str]:
        """Wait until the relay has credentials; return a job's variables that point to them.

        Raises RelayError after `timeout` seconds, but only if they are `required`. With a separate
        job role the variables always point to the relay, fetched or not. By SIDECAR_ROLES there is
        nothing to fetch yet.
        """
        if self.relay is None:
            return environment.disable_instance_role(passed_on) if self.separate_job_role else {}
        if self.job_role is not None:
            self.job_role.set_runner(runner)
            timeout *= JOB_ROLE_PATIENCE
        try:
            if self.assigned is None:
                await self.relay.wait_until_fetched(timeout)
        except RelayError as error:
            if required:
                raise
            log.warning("relay.credentials_delayed", reason=str(error))
        if not self.separate_job_role and not self.redirected:
            return {environment.RELAY_URI: self.relay.uri}
        relative = self.relay.relative_uri if self.redirected else None
        return environment.credential_variables(passed_on, self.relay.uri, relative)


@asynccontextmanager
async def job_credentials(
    config: Configuration, access: Access, facts: Facts, cleanup_stack: CleanupStack
) -> AsyncIterator[JobCredentials]:
    """Run the relay within the block, if there can be one.

    If there cannot, a job runs without. Raises RelayError instead if SIDECAR_RELAY_REQUIRED is set
    or SIDECAR_RELAY names a mode.
    """
    settings = config.settings
    credentials = JobCredentials(separate_job_role=access.separate_job_role)
    _log_shared_role(settings, access)
    async with AsyncExitStack() as serving:
        try:
            if (source := _choose_source(config, access, credentials)) is not None:
                route = CredentialsRoute(
                    access.endpoint, access.separate_job_role, facts.network_modes, cleanup_stack
                )
                running, credentials.redirected, credentials.mode = await route.serve(
                    source, config, serving
                )
                credentials.relay = running
        except RelayError as error:
            if settings.relay_required or settings.relay != "auto":
                raise
            log.warning("relay.failed", reason=str(error))
        yield credentials


def _choose_source(
    config: Configuration, access: Access, credentials: JobCredentials
) -> CredentialsSource | None:
    """Return the source of the credentials to relay; None for none. Raises RelayError."""
    settings = config.settings
    if settings.relay == "off":
        log.info("relay.disabled", reason="SIDECAR_RELAY=off")
        return None
    if access.endpoint_error is not None:
        raise access.endpoint_error
    if settings.roles is not None:
        credentials.assigned = AssignedRole()
        return credentials.assigned
    if access.separate_job_role:
        credentials.job_role = access.job_role(config)
        return credentials.job_role
    if access.endpoint is None:
        if settings.relay_required or settings.relay != "auto":
            lacking = "machine has no instance profile" if config.machine else "task has no role"
            raise RelayError(f"cannot relay credentials: the {lacking} (taskRoleArn)")
        log.info(
            "relay.disabled", reason="no instance profile" if config.machine else "no task role"
        )
    return access.endpoint


def _log_shared_role(settings: Settings, access: Access) -> None:
    """Log which secrets of the agent's a job can read, if it has the task role."""
    if access.separate_job_role or access.endpoint is None:
        return
    readable = []
    if settings.token_parameter is not None:
        folder = settings.token_parameter.rpartition("/")[0]
        readable.append(f"SIDECAR_TOKEN_PARAMETER, and others that its policy grants: {folder}/*")
    if settings.launch_config is not None or settings.launch_id is not None:
        readable.append("the launcher's tokens for all its machines, if its policy grants them")
    for name in ("github_app_key", "github_pat"):
        secret = getattr(settings, name)
        reference = secret.get_secret_value() if secret is not None else ""
        if reference.startswith(("ssm:", "secretsmanager:")):
            readable.append(f"SIDECAR_{name.upper()}: {reference}")
    log.info(
        "job.role_shared",
        reason="jobs have the task role, and may do whatever it may; SIDECAR_JOB_ROLE_ARN or "
        "SIDECAR_JOB_POLICY gives them less",
        can_read=readable,
    )
