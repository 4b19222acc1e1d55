"""Give the job its own role, by the rules of SIDECAR_ROLES, before any of its steps.

The started hook says who the job is, and waits for the answer. The first message counts, later ones
are not read. Whatever goes wrong, the job has no credentials: never the task role, unless the rules
name it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from sidecar.aws.references import find_region
from sidecar.errors import RelayError, SettingsError, SidecarError, TokenError
from sidecar.github import id_token
from sidecar.github.errors import GitHubError, TransientError
from sidecar.github.id_token import IdTokens, read_claims
from sidecar.net.retry import call_with_retries, growing
from sidecar.relay import running_beside
from sidecar.relay.protocol import deny
from sidecar.relay.role_session import RoleSession, SessionRequest, make_client
from sidecar.roles import session
from sidecar.roles.containers import JOB
from sidecar.roles.document import RolesError, parse_roles
from sidecar.roles.rules import LONGEST_CHAINED, NONE, TASK, Match, Proof, Roles
from sidecar.runner.admission import Assignment
from sidecar.runner.job_identity import SENT, JobIdentity
from sidecar.settings.checks import check_roles
from sidecar.settings.given_roles import SETTING, RolesParameters, describe_roles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from sidecar.aws.container_credentials import CredentialsSource
    from sidecar.aws.secrets import SecretReader
    from sidecar.aws.session import ServiceClient
    from sidecar.lifecycle.job_credentials import Access, JobCredentials
    from sidecar.roles.containers import ContainerRule
    from sidecar.roles.rules import Terms
    from sidecar.settings.model import Settings

log = structlog.get_logger()

TOKEN_TIMEOUT = 4.0
"""Seconds after which GitHub is not asked again for a token."""
AUDIENCE = "sts.amazonaws.com"
CHINESE_AUDIENCE = "sts.amazonaws.com.cn"
"""Of GitHub's tokens: the one that AWS' documents and configure-aws-credentials use."""


async def read_rules(settings: Settings, reader: SecretReader) -> Roles | None:
    """Return the rules, also those that SSM holds; None if there are none.

    Raises SettingsError for mistakes in them, RelayError if they cannot be read.
    """
    given = settings.roles
    if not isinstance(given, RolesParameters):
        return given
    from sidecar.aws.secrets import read_secret

    try:
        texts = [
            await read_secret(f"ssm:{name}", SETTING, replace_region(reader, name))
            for name in given.names
        ]
    except TokenError as error:
        raise RelayError(str(error)) from error
    try:
        roles = parse_roles("\n".join(texts))
    except RolesError as error:
        raise SettingsError(*describe_roles(error)) from None
    if problems := check_roles(settings, roles):
        raise SettingsError(*problems)
    return roles


def replace_region(reader: SecretReader, name: str) -> SecretReader:
    """Return a reader for the region that a parameter's ARN names, if it names one."""
    region = find_region(name)
    return reader if region is None else replace(reader, region=region)


class JobRoles:
    """Finds the rule for the runner's one job, and has the relay serve the role of that rule."""

    def __init__(
        self,
        roles: Roles,
        access: Access,
        credentials: JobCredentials,
        region: str | None,
        runner: str = "",
    ) -> None:
        self.roles = roles
        self._access = access
        self._credentials = credentials
        self._region = region
        self._runner = runner
        self.match: Match | None = None
        """The rule of the job; None: it has none, or has not asked yet."""
        self.identity: JobIdentity | None = None
        self._tokens: IdTokens | None = None
        self._token: str | None = None
        """The token by which the rule was chosen, until it is the proof of the first session."""
        self._clients: dict[Proof, ServiceClient] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that the hook sends; GitHub's token only where a rule needs it."""
        return (*SENT, *(id_token.VARIABLES if Proof.OIDC in self.roles.proofs else ()))

    async def open_clients(self, running: AsyncExitStack) -> None:
        """Open the clients of STS that the rules may need until `running` is closed.

        That takes tens of milliseconds, which no job then waits for.
        """
        given = [rule.terms for rule in self.roles.jobs] + [self.roles.default]
        for proof in {terms.proof for terms in given if terms.role not in (NONE, TASK)}:
            own = self._access.agent_credentials
            opening = make_client(self._region, own, anonymous=proof is Proof.OIDC)
            client = self._clients[proof] = await running.enter_async_context(opening)
            await running.enter_async_context(running_beside(_connect(client)))

    async def start_containers(self, running: AsyncExitStack) -> None:
        """Judge containers by their rules, if there are any, until `running` is closed."""
        if not self.roles.containers or self._credentials.relay is None:
            return
        from sidecar.lifecycle.container_roles import ContainerRoles

        containers = ContainerRoles(self, self._credentials.relay)
        await containers.start(running)
        self._credentials.containers = containers

    async def assign(
        self, identity: JobIdentity | None, variables: Mapping[str, str], deadline: float
    ) -> Assignment:
        """Give the job its role, and wait until it is there, or until `deadline` in loop time."""
        began = time.perf_counter()
        if identity is None:
            return self._deny("it is not known which job this is", required=self.roles.any_required)
        try:
            tokens = IdTokens.from_variables(variables)
            if tokens is not None and self.roles.asks_token(identity):
                identity = await self._verify(identity, tokens)
            self.match = match = self.roles.find(identity)
        except SidecarError as error:
            return self._deny(str(error), required=self.roles.any_required)
        self.identity = identity
        if match is None or match.terms.role == NONE:
            of = f"of {SETTING} gives"
            given = f"no rule {of} a" if match is None else f"the rule {match.name!r} {of} no"
            return self._deny(f"{given} role to {_describe(identity)}")
        try:
            source = self._make_source(match, identity, tokens)
        except SidecarError as error:
            return self._deny(str(error), required=match.required)
        return await self._serve(match, source, deadline, began)

    async def _serve(
        self, match: Match, source: CredentialsSource, deadline: float, began: float
    ) -> Assignment:
        credentials = self._credentials
        if credentials.relay is None or credentials.assigned is None:
            return self._deny("the agent relays no credentials", required=match.required)
        credentials.relay.identities.set_job(self._describe_run(), match.name)
        credentials.assigned.assign(source)
        facts = {"rule": match.name, "role": match.terms.role, "proof": str(match.terms.proof)}
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            await credentials.relay.wait_until_fetched(left)
        except RelayError as error:
            log.warning("role.delayed", reason=str(error), **facts)
            if match.required:
                return Assignment(refusal=f"its role is required: {error}")
            return Assignment(notice=str(error))
        took = round((time.perf_counter() - began) * 1000)
        log.info("role.assigned", job_role_ms=took, **facts)
        return Assignment()

    def _describe_run(self) -> str:
        """Name the run in one line, for the audit: `octo/repo run 5 attempt 1 job build`."""
        facts = self.identity.to_facts() if self.identity is not None else {}
        repository, *rest = (
            facts.get(key, "?") for key in ("repository", "run_id", "run_attempt", "job")
        )
        return "{} run {} attempt {} job {}".format(repository, *rest)

    def _deny(self, reason: str, *, required: bool = False) -> Assignment:
        """Have every request of the job refused for this reason."""
        log.warning("role.denied", reason=reason)
        if self._credentials.relay is not None:
            self._credentials.denial = deny(reason)
        if required:
            return Assignment(refusal=f"its role is required: {reason}")
        return Assignment(notice=f"{reason}: this job has no credentials of AWS")

    # -- GitHub's token ------------------------------------------------------------------------

    @property
    def _audience(self) -> str:
        return CHINESE_AUDIENCE if (self._region or "").startswith("cn-") else AUDIENCE

    async def _verify(self, identity: JobIdentity, tokens: IdTokens) -> JobIdentity:
        """Return the identity with what GitHub's token says; it must say the same as the runner.

        Raises GitHubError.
        """
        token = await call_with_retries(
            lambda: tokens.read(self._audience),
            growing(TransientError, first=0.2, longest=1.0),
            seconds=TOKEN_TIMEOUT,
        )
        self._token = token
        claims = read_claims(token)
        for claim, known in _compared(identity).items():
            said = claims.get(claim)
            if said is not None and known is not None and str(said) != known:
                raise GitHubError(f"GitHub's token says another {claim} than the runner")
        environment = claims.get("environment")
        return replace(identity, environment=environment if isinstance(environment, str) else None)

    async def _read_token(self, tokens: IdTokens) -> str:
        """Return the token that is here already, once; then ask for a new one each time."""
        token, self._token = self._token, None
        return token if token is not None else await tokens.read(self._audience)

    # -- the source ----------------------------------------------------------------------------

    def _make_source(
        self, match: Match, identity: JobIdentity, tokens: IdTokens | None
    ) -> CredentialsSource:
        """Return the source of a role's credentials. Raises SidecarError."""
        terms, access = match.terms, self._access
        if terms.role == TASK:
            if access.endpoint is None:
                raise RelayError("the task has no role that [default] could give")
            return access.endpoint
        oidc = terms.proof is Proof.OIDC
        if oidc and tokens is None:
            raise RelayError(
                f"the rule {match.name!r} needs GitHub's token: the job lacks permissions: "
                "id-token: write"
            )
        self._tokens = tokens
        if unsent := session.find_unsent(identity) if not oidc else []:
            log.warning(
                "role.tags_left_out",
                tags=unsent,
                reason="STS does not take their values; a policy that needs them denies",
            )
        return self._make_session(match.name, identity, terms)

    def make_container_source(self, rule: ContainerRule) -> CredentialsSource:
        """Return the source of the credentials of a rule for containers.

        Its job has a role, and that rule may be used beside it.
        """
        assert self.match is not None  # noqa: S101  the caller has looked
        assert self.identity is not None  # noqa: S101
        terms = self.match.terms
        if rule.role != JOB:
            terms = replace(terms, role=rule.role)
        terms = replace(terms, policy=rule.policy)
        return self._make_session(rule.name, self.identity, terms)

    def _make_session(self, rule: str, identity: JobIdentity, terms: Terms) -> RoleSession:
        tokens, oidc = self._tokens, terms.proof is Proof.OIDC
        request = SessionRequest(
            rule,
            terms.role,
            session.make_name(identity, self._runner),
            terms.duration if oidc else min(terms.duration, LONGEST_CHAINED),
            terms.policy,
            {} if oidc else session.make_tags(identity, terms.tags),
            session.find_source_identity(identity, terms.source_identity),
        )
        read_token = partial(self._read_token, tokens) if oidc and tokens is not None else None
        own = self._access.agent_credentials
        client = self._clients.get(terms.proof)
        return RoleSession(request, self._region, own, read_token, client)


async def _connect(client: ServiceClient) -> None:
    """Have a client ready; what fails now fails again when it is used, and is reported then."""
    try:
        await client.connect()
    except Exception as error:  # noqa: BLE001  the library raises whatever it comes across
        log.debug("role.client_failed", reason=type(error).__name__)


def _compared(identity: JobIdentity) -> dict[str, str | None]:
    """Return the claims of GitHub's token that must say what the runner says."""
    return {
        "repository": identity.repository,
        "repository_id": identity.repository_id,
        "ref": identity.ref,
        "event_name": identity.event,
        "run_id": identity.run_id,
        "run_attempt": identity.run_attempt,
    }


def _describe(identity: JobIdentity) -> str:
    """Name a job by what rules compare most."""
    facts: dict[str, Any] = identity.to_facts()
    known = [facts.get(key) or "not known" for key in ("repository", "ref", "event_name")]
    fork = " of a fork" if identity.from_fork else ""
    return f"{known[0]}, ref {known[1]}, event {known[2]}{fork}"
